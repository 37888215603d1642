"""Progress is silent for quick runs, a line now and then in a log, and a bar on a terminal."""

import io
import re
from dataclasses import dataclass

from simulator.cli.progress import Progress


@dataclass
class Event:
    run: str = "fcfs"
    index: int = 0
    count: int = 1
    simulated_s: float = 600.0
    done: int = 25
    total: int = 100


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_quick_run_says_nothing():
    for stream in (io.StringIO(), Terminal()):
        with Progress(stream, quick_s=60) as progress:
            progress(Event())
        assert stream.getvalue() == ""


def test_a_log_gets_one_line_now_and_then():
    stream = io.StringIO()
    with Progress(stream, quick_s=0) as progress:
        for done in range(100):
            progress(Event(done=done))
    assert re.fullmatch(r"fcfs: 0 of 100 requests, simulated 0:10:00, left about \d:\d\d:\d\d\n", stream.getvalue()), (
        "the rest came too soon for a second line"
    )


def test_a_line_says_which_run_of_how_many():
    stream = io.StringIO()
    Progress(stream, quick_s=0)(Event(index=1, count=3))
    assert stream.getvalue().startswith("fcfs (2/3): 25 of 100 requests")


def test_what_is_left_follows_from_what_is_done():
    progress = Progress(io.StringIO(), quick_s=0)
    half = Event(index=0, count=2, done=100)
    assert progress._left(half, progress.started + 30) == 30
    assert progress._left(Event(done=0), progress.started + 30) == 0


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with Progress(stream, quick_s=0) as progress:
        progress(Event(done=40))
        progress(Event(done=60))
    shown = stream.getvalue()
    assert "fcfs" in shown
    assert "60/100" in shown
    assert "simulated 0:10:00" in shown
