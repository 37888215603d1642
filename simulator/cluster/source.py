"""Where requests come from: a workload's arrivals in time, or clients that wait for their answers."""

from collections.abc import Callable, Generator, Iterator

import simpy

from simulator.core import Request, Segment
from simulator.engine.instance import SEND, Moment
from simulator.workload.table import Workload

_CHUNK = 4096


def requests_of(workload: Workload) -> Iterator[Request]:
    """Yield a workload's requests in order; columns are turned into Python numbers a few thousand rows at a time."""
    for low in range(0, len(workload), _CHUNK):
        rows = slice(low, low + _CHUNK)
        made = [
            Request(index, arrival, prompt, output)
            for index, (arrival, prompt, output) in enumerate(
                zip(
                    workload.arrival_ps[rows].tolist(),
                    workload.prompt_tokens[rows].tolist(),
                    workload.output_tokens[rows].tolist(),
                    strict=True,
                ),
                start=low,
            )
        ]
        for name in ("priority", "client", "session"):
            column = getattr(workload, name)
            if column is not None:
                for request, value in zip(made, column[rows].tolist(), strict=True):
                    setattr(request, name, value)
        if (prefix := workload.prefix) is not None:
            for request in made:
                first, last = prefix.offsets[request.index], prefix.offsets[request.index + 1]
                ids, ends = prefix.ids[first:last].tolist(), prefix.end_tokens[first:last].tolist()
                request.segments = tuple(map(Segment, ids, ends))
        yield from made


def open_loop(
    env: simpy.Environment, requests: Iterator[Request], send: Callable[[Request], None]
) -> Generator[simpy.Event, None, None]:
    """Send each request at its arrival time."""
    timeout = env.timeout
    for request in requests:
        delay = request.arrival - env.now
        if delay > 0:
            yield timeout(delay)
        send(request)


class ClosedLoop:
    """Clients that each keep one request in flight: the next one follows ``think_ps`` after the last ended."""

    def __init__(
        self,
        env: simpy.Environment,
        requests: Iterator[Request],
        send: Callable[[Request], None],
        concurrency: int,
        think_ps: int,
    ) -> None:
        self._env = env
        self._requests = requests
        self._send = send
        self._think_ps = think_ps
        for _ in range(concurrency):
            Moment(env, 0, SEND).callbacks.append(self._send_next)

    def ended(self) -> None:
        """Let the client whose request just ended think, then send its next one."""
        Moment(self._env, self._think_ps, SEND).callbacks.append(self._send_next)

    def _send_next(self, _: simpy.Event) -> None:
        request = next(self._requests, None)
        if request is not None:
            request.arrival = self._env.now  # type: ignore[assignment]
            self._send(request)
