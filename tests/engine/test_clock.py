"""The clock runs SimPy's events and alarms alike, whichever of SimPy's ways of running is used."""

import pytest

from simulator.engine.clock import ARRIVE, BEGIN, END, Alarm, Clock, Moment


@pytest.mark.parametrize("until", [None, 100])
def test_only_an_alarms_last_setting_counts(until):
    clock, woken = Clock(), []
    alarm = Alarm(clock, woken.append)
    for at in (30, 10, 20):
        alarm.set(at, END)
    clock.run(until)
    assert woken == [20]
    alarm.set(clock.time + 5, END)
    clock.run(None if until is None else 200)
    assert woken == [20, 25 if until is None else 105]


@pytest.mark.parametrize("until", [None, 100])
def test_what_happens_at_one_moment_has_an_order(until):
    clock, seen = Clock(), []
    Alarm(clock, lambda now: seen.append(("begin", now))).set(10, BEGIN)
    Alarm(clock, lambda now: seen.append(("end", now))).set(10, END)
    Moment(clock, 10, ARRIVE, lambda moment: seen.append(("arrive", moment.at)))

    def process():
        yield clock.timeout(10)
        seen.append(("process", clock.time))

    clock.process(process())
    clock.run(until)
    assert seen == [("arrive", 10), ("process", 10), ("end", 10), ("begin", 10)]


def test_a_generator_can_be_woken():
    clock, times = Clock(), []

    def sleeper():
        while True:
            times.append((yield))
            if len(times) < 3:
                alarm.set(clock.time * 2, END)

    sleeping = sleeper()
    alarm = Alarm(clock, sleeping.send)
    next(sleeping)
    alarm.set(7, END)
    clock.run()
    assert times == [7, 14, 28]


def test_a_process_that_fails_stops_the_run():
    clock = Clock()

    def failing():
        yield clock.timeout(1)
        raise ValueError("no more")

    clock.process(failing())
    with pytest.raises(ValueError, match="no more"):
        clock.run()
