"""Clients that send a request again until its answer came in time, before a server that drops who is too late."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from simulator.core import PS_PER_S, Request
from simulator.engine.clock import ARRIVE, SEND, Alarm, Clock, Moment
from simulator.engine.instance import Instance
from simulator.engine.ledger import Ledger, iteration_ends
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.world import World
from simulator.scheduling.preemption import pause


class Limits(NamedTuple):
    """What is in time, in seconds: the first token, any two tokens apart; and when the server itself drops a request.

    ``drop_s``: one that waited this long and has not started. ``abort_s``: one whose next token came this long after
    the one before, because it was evicted; None: it goes on.
    """

    ttft_s: float
    gap_s: float
    drop_s: float
    abort_s: float | None = None


class Kept(NamedTuple):
    """What a run took: answers in time, and all that were sent (dropped and aborted ones failed); seconds."""

    good: list[Request]
    sent: list[Request]
    duration_s: float


def serve_until_good(
    world: World, drawn: Drawn, clients: int, limits: Limits, *, before: Drawn | None = None, before_clients: int = 1
) -> Kept:
    """Serve requests until each was answered within the limits once.

    Each client takes the next request of a common list, and waits for its end. One that was dropped, or answered too
    late, goes to the end of the list; a client that finds it empty leaves. ``before``: requests that the same server
    served earlier, to so many clients; they count for nothing. Source: LightLLM's artifact (WuSiYu/lightllm-ae),
    benchmark_serving_overload_o1.py with --re-adding-failed-reqs, and ``_filter_waiting_req_sla_violent`` and
    ``_mark_running_req_sla_violent`` in lightllm/server/router/manager.py.
    """
    run = _Run(world, limits)
    if before is not None:
        run.serve(before, before_clients)
    began, sent, good = run.clock.time, len(run.sent), len(run.good)
    run.serve(drawn, clients)
    ended = max(request.finished_at for request in run.sent)
    return Kept(run.good[good:], run.sent[sent:], (ended - began) / PS_PER_S)


def longest_gap_s(ledger: Ledger, request: Request) -> float:
    """Return the longest time between two tokens of a request that ended, in seconds; 0 for a single token."""
    spans, runs = ledger.spans(), ledger.runs()
    own = spans[spans[:, 0] == request.index]
    own = own[np.argsort(own[:, 1])]
    numbers = np.concatenate([np.arange(first, last + 1) for first, last in own[:, 1:3]])
    row = np.searchsorted(np.cumsum(runs[:, 3]), numbers, side="right")
    # Prompts alone make a token for whose span they begin, and for nobody else.
    made = (runs[row, 4] > 0) | np.isin(numbers, own[:, 1])
    ends = iteration_ends(runs, numbers[made])
    return float(np.diff(ends).max(initial=0)) / PS_PER_S


class _Run:
    """A server, the list of what is to be sent, and what became of it."""

    def __init__(self, world: World, limits: Limits) -> None:
        self.clock = Clock()
        self.limits = limits
        server = world.server()
        self.core = server.core
        self.instance = Instance(self.clock, 0, server.core, server.cost, self._ended)
        if limits.abort_s is not None:
            self.instance.on_queue = self._queue_changed
        # Lengths to be sent, or a request that ended and was not looked at yet.
        self.list: deque[tuple[int, int] | Request] = deque()
        self.sent: list[Request] = []
        self.good: list[Request] = []
        self.again: dict[Request, Callable[[], None]] = {}  # what the client of a request does when it ended
        self._evicted: dict[Request, int] = {}  # when each that waits to go on made its last token

    def serve(self, drawn: Drawn, clients: int) -> None:
        """Let clients send requests with these lengths until all were answered in time."""
        self.list.extend(zip(drawn.prompt.tolist(), drawn.output.tolist(), strict=True))
        for _ in range(clients):
            Moment(self.clock, self.clock.time, SEND, _Client(self).send_next)
        self.clock.run()

    def next(self) -> Request | None:
        """Return the next request to send, None if there is none."""
        while self.list:
            entry = self.list.popleft()
            if isinstance(entry, Request):
                if self._in_time(entry):
                    self.good.append(entry)
                    continue
                entry = entry.prompt_tokens, entry.output_tokens
            request = Request(len(self.sent), self.clock.time, *entry)
            self.sent.append(request)
            return request
        return None

    def drop(self, request: Request) -> None:
        """Take a request out of the queue, if it did not start after all."""
        if request.admitted_at < 0:
            queue: Any = self.core.scheduler.queue
            queue.remove(request)
            self._fail(request, "dropped: it waited too long")

    def _queue_changed(self, instance: Instance, waiting: int) -> None:
        """Note who was evicted, and look at those who go on when the iteration with their next token ended."""
        queue: Any = self.core.scheduler.queue
        for request in queue:
            if request.admitted_at >= 0:
                self._evicted.setdefault(request, self.clock.time)
        for request in [each for each in self._evicted if each not in queue]:
            # In a moment: this iteration's length is not known yet.
            look = partial(self._abort_if_late, request, self._evicted.pop(request))
            Moment(self.clock, self.clock.time, SEND, partial(self._look_after, look))

    def _look_after(self, look: Callable[[], None], moment: Moment) -> None:
        self.instance.at_boundary(look)

    def _abort_if_late(self, request: Request, last: int) -> None:
        policy: Any = self.core.scheduler
        late = self.limits.abort_s is not None and self.clock.time - last > self.limits.abort_s * PS_PER_S
        if late and request in self.core.decodes:
            pause(policy, request)
            self.core.kv.release(request)
            del policy.running[request]
            policy.gone(request)
            self._fail(request, "aborted: its tokens came too far apart")

    def _fail(self, request: Request, why: str) -> None:
        request.failure = why
        request.finished_at = self.clock.time
        self._ended(self.instance, request)

    def _ended(self, instance: Instance, request: Request) -> None:
        self.list.append(request)
        self.again.pop(request)()

    def _in_time(self, request: Request) -> bool:
        if request.failure is not None or request.first_token_at - request.arrival > self.limits.ttft_s * PS_PER_S:
            return False
        return longest_gap_s(self.core.ledger, request) <= self.limits.gap_s


class _Client:
    """Has one request under way at a time."""

    def __init__(self, run: _Run) -> None:
        self._run = run
        self._patience = Alarm(run.clock, self._too_late)
        self._request: Request | None = None

    def send_next(self, moment: Moment) -> None:
        """Send the next request, if there is one."""
        run = self._run
        self._request = request = run.next()
        if request is None:
            return
        run.again[request] = self._again
        self._patience.set(moment.at + round(run.limits.drop_s * PS_PER_S), ARRIVE)
        run.instance.submit(request)

    def _again(self) -> None:
        Moment(self._run.clock, self._run.clock.time, SEND, self.send_next)

    def _too_late(self, now: int) -> None:
        request = self._request
        if request is not None and request.admitted_at < 0 and request.finished_at < 0:
            # Between two iterations: while one is planned, the queue is the policy's.
            self._run.instance.at_boundary(partial(self._run.drop, request))
