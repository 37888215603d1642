"""The engine's loop: take in what has arrived, plan, launch, wait for what was launched before."""

import time
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from serving.scheduler import Scheduler, Served, Work

_SPIN = 2e-4  # seconds before an arrival that are waited for without sleeping


class Runner(Protocol):
    """What computes iterations, in the order in which they are launched."""

    def launch(self, work: Work) -> Any:
        """Start an iteration and return what to wait for."""
        ...

    def wait(self, ticket: Any) -> None:
        """Return when an iteration is done."""
        ...


class Clock:
    """The machine's monotonic clock, in seconds."""

    def now(self) -> float:
        """Return the time."""
        return time.monotonic()

    def sleep_until(self, when: float) -> None:
        """Return at a time."""
        while (left := when - time.monotonic()) > 0:
            if left > _SPIN:
                time.sleep(left - _SPIN)


class ProcessorClock(Clock):
    """Processor time of this thread, in seconds; waiting is skipped.

    What else the machine does then hardly shows. Right for runners that compute in this thread.
    """

    def __init__(self) -> None:
        self._skipped = 0.0

    def now(self) -> float:
        """Return the time."""
        return time.thread_time() + self._skipped

    def sleep_until(self, when: float) -> None:
        """Make it that time, if it is earlier."""
        self._skipped += max(0.0, when - self.now())


class Listener(Protocol):
    """Hears what happened, as it happens."""

    def iteration(self, work: Work, start: float, end: float, scheduler: Scheduler) -> None:
        """Hear of an iteration that ended."""
        ...

    def finished(self, request: Served) -> None:
        """Hear of a request that made its last token."""
        ...


def serve(
    requests: Sequence[Served], scheduler: Scheduler, runner: Runner, clock: Clock, listener: Listener, *, depth: int
) -> None:
    """Serve requests open loop: each is queued at its ``arrival``, or at the end of the iteration it falls into.

    ``depth`` 1: an iteration is planned when the one before it is done. 2: planned and launched while that one runs, as
    asynchronous scheduling does.
    """
    pending = deque(sorted(requests, key=lambda request: request.arrival))
    flights: deque[tuple[Work, Any, float]] = deque()
    while pending or scheduler.waiting or scheduler.running or flights:
        now = clock.now()
        while pending and pending[0].arrival <= now:
            request = pending.popleft()
            request.queued = now
            scheduler.add(request)
        work = scheduler.plan()
        if work is not None:
            start = clock.now()
            for part in work.parts:
                if part.request.scheduled != part.request.scheduled:
                    part.request.scheduled = start
            flights.append((work, runner.launch(work), start))
        if flights and (work is None or len(flights) == depth):
            ended, ticket, start = flights.popleft()
            runner.wait(ticket)
            end = clock.now()
            for request in scheduler.done(ended, end):
                listener.finished(request)
            listener.iteration(ended, start, end, scheduler)
        elif work is None and pending:
            clock.sleep_until(pending[0].arrival)
