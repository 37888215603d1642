"""SimPy's clock for this simulation: whole picoseconds, and an order for what happens at one moment."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

import simpy

# At one moment, arrivals come before iterations end, these before closed-loop clients send their next request, and new
# iterations begin last. Without this order, results would depend on which of two events at the same picosecond was
# scheduled first, and so on --exact-steps.
ARRIVE: Final = 1
END: Final = 2
SEND: Final = 3
BEGIN: Final = 4


class Clock(simpy.Environment):
    """A SimPy environment whose time is whole picoseconds; ``agenda`` is its queue, the next event first.

    Any SimPy event and process runs on it. ``run`` is SimPy's own loop with its step written out, which saves one in
    ten of a simulation's Python calls.
    """

    def __init__(self) -> None:
        super().__init__()
        self.agenda: list[Any] = self._queue

    @property
    def time(self) -> int:
        """The present, in picoseconds."""
        now: int = self._now  # type: ignore[assignment]
        return now

    @property
    def events(self) -> int:
        """How many events were scheduled so far."""
        # Taking the next number is the only way to read it, and costs one number.
        return next(self._eid)

    def run(self, until: Any = None) -> Any:
        """Run until there is no event left, or as SimPy's ``run`` until a time or an event."""
        if until is not None:
            return super().run(until)
        agenda = self.agenda
        while agenda:
            self._now, _, _, event = heappop(agenda)
            callbacks, event.callbacks = event.callbacks, None
            for callback in callbacks:
                callback(event)
            if not event._ok and not event.defused:
                raise event._value
        return None


class Moment(simpy.Event):
    """An event at a time (``at``, ps, not in the past) that calls ``wake`` with itself, in the given order.

    A generator's ``send`` as ``wake`` makes a process of it: ``now = (yield).at``. SimPy's own ``Process`` and
    ``Timeout`` do the same at four Python calls more an event.
    """

    _ok = True
    _value = None

    def __init__(self, clock: Clock, at: int, order: int, wake: Callable[[Any], Any]) -> None:
        self.at = at
        self.callbacks = [wake]
        heappush(clock.agenda, (at, order, next(clock._eid), self))
