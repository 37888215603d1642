"""SimPy's clock for this simulation: whole picoseconds, and an order for what happens at one moment."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any, Final

import simpy

# At one moment, arrivals come before iterations end, these before requests are handed from instance to instance, these
# before closed-loop clients send their next request, and new iterations begin last. Without this order, results would
# depend on which of two events at the same picosecond was scheduled first, and so on --exact-steps.
ARRIVE: Final = 1
END: Final = 2
HAND_OVER: Final = 3
SEND: Final = 4
BEGIN: Final = 5


class Clock(simpy.Environment):
    """A SimPy environment whose time is whole picoseconds; ``agenda`` is its queue, the next event first.

    Any SimPy event and process runs on it, beside ``Alarm``, which needs no new object and no list of callbacks each
    time. ``run`` is SimPy's own loop with its step written out.
    """

    def __init__(self) -> None:
        super().__init__()
        self.agenda: list[Any] = self._queue
        self.numbers = self._eid  # of events, in the order they were scheduled

    @property
    def time(self) -> int:
        """The present, in picoseconds."""
        now: int = self._now  # type: ignore[assignment]
        return now

    @property
    def events(self) -> int:
        """How many events were scheduled so far."""
        # Taking the next number is the only way to read it, and costs one number.
        return next(self.numbers)

    def run(self, until: Any = None) -> Any:
        """Run until there is no event left, or as SimPy's ``run`` until a time or an event."""
        if until is not None:
            return super().run(until)
        agenda = self.agenda
        while agenda:
            now, _, number, event = heappop(agenda)
            if type(event) is Alarm:
                if event.number == number:
                    self._now = now
                    event.wake(now)
                continue
            self._now = now
            callbacks, event.callbacks = event.callbacks, None
            for callback in callbacks:
                callback(event)
            if not event._ok and not event.defused:
                raise event._value
        return None

    def step(self) -> None:
        """Process the next event, as SimPy's ``step``; one that an alarm no longer stands for does nothing."""
        if self.agenda and type(self.agenda[0][3]) is Alarm:
            self._now, _, number, alarm = heappop(self.agenda)
            if alarm.number == number:
                alarm.wake(self._now)
        else:
            super().step()


class Alarm:
    """An event that is set again and again: it calls ``wake`` with the time (ps) of its last setting, if that comes.

    A generator's ``send`` as ``wake`` makes a process of it: ``now = yield``. A setting costs an entry in the agenda
    and nothing else; one that another replaced lies there until its time and is then passed over.
    """

    __slots__ = ("_agenda", "_numbers", "number", "wake")

    def __init__(self, clock: Clock, wake: Callable[[int], Any]) -> None:
        self._agenda, self._numbers = clock.agenda, clock.numbers
        self.wake = wake
        self.number = -1  # of the setting that counts

    def set(self, at: int, order: int) -> None:
        """Wake at a time (not in the past), in the given order among what happens then, and at no other time."""
        self.number = number = next(self._numbers)
        heappush(self._agenda, (at, order, number, self))


class Moment(simpy.Event):
    """An event at a time (``at``, ps, not in the past) that calls ``wake`` with itself, in the given order."""

    _ok = True
    _value = None

    def __init__(self, clock: Clock, at: int, order: int, wake: Callable[[Any], Any]) -> None:
        self.at = at
        self.callbacks = [wake]
        heappush(clock.agenda, (at, order, next(clock.numbers), self))
