"""Where requests come from: a workload's arrivals in time, or clients that wait for their answers."""

from collections.abc import Callable, Generator, Iterator

from simulator.core import Request, Segment
from simulator.engine.clock import ARRIVE, SEND, Alarm, Clock, Moment
from simulator.workload.table import Workload

_CHUNK = 4096
# What a request has from a column of the workload, where there is one.
_COLUMNS = {"priority": "priority", "client": "client", "session": "session", "lead": "lead_ps", "model": "model"}


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
        for name, key in _COLUMNS.items():
            column = getattr(workload, key)
            if column is not None:
                for request, value in zip(made, column[rows].tolist(), strict=True):
                    setattr(request, name, value)
        if (prefix := workload.prefix) is not None:
            for request in made:
                first, last = prefix.offsets[request.index], prefix.offsets[request.index + 1]
                ids, ends = prefix.ids[first:last].tolist(), prefix.end_tokens[first:last].tolist()
                request.segments = tuple(map(Segment, ids, ends))
        if (follow := workload.follow_ups) is not None:
            for request in made:
                request.after = int(follow.after[request.index])
                request.shown = bool(follow.shown[request.index])
        yield from made


class OpenLoop:
    """Sends each request at its arrival time."""

    def __init__(self, clock: Clock, requests: Iterator[Request], send: Callable[[Request], None]) -> None:
        arriving = self._arrive(requests, send)
        self._alarm = Alarm(clock, arriving.send)
        next(arriving, None)

    def _arrive(self, requests: Iterator[Request], send: Callable[[Request], None]) -> Generator[None, int, None]:
        for request in requests:
            self._alarm.set(request.arrival, ARRIVE)
            yield
            send(request)
        yield  # nobody wakes it again


class ClosedLoop:
    """Clients that each keep one request in flight: the next one follows ``think_ps`` after the last ended."""

    def __init__(
        self,
        clock: Clock,
        requests: Iterator[Request],
        send: Callable[[Request], None],
        concurrency: int,
        think_ps: int,
    ) -> None:
        self._clock = clock
        self._requests = requests
        self._send = send
        self._think_ps = think_ps
        for _ in range(concurrency):
            Moment(clock, clock.time, SEND, self._send_next)

    def ended(self) -> None:
        """Let the client whose request just ended think, then send its next one."""
        Moment(self._clock, self._clock.time + self._think_ps, SEND, self._send_next)

    def _send_next(self, moment: Moment) -> None:
        request = next(self._requests, None)
        if request is None:
            return
        if request.lead:
            Moment(self._clock, moment.at + request.lead, SEND, lambda later: self._send_at(request, later.at))
        else:
            self._send_at(request, moment.at)

    def _send_at(self, request: Request, now: int) -> None:
        request.arrival = now
        self._send(request)
