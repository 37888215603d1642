"""How far a run is, on stderr: a bar on a terminal, a line now and then elsewhere, nothing for a quick run."""

import sys
import time
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

    from simulator.experiment.runner import ProgressEvent

_QUICK_S = 1.0
_LINE_EVERY_S = 10.0
_REDRAW_S = 0.2


class Progress:
    """Shows progress events; a context that leaves the terminal clean."""

    def __init__(self, stream: TextIO | None = None, quick_s: float = _QUICK_S) -> None:
        self.stream = stream or sys.stderr
        self.quick_s = quick_s
        self.started = time.monotonic()
        self.next_line = self.started + quick_s
        self.bars: RichProgress | None = None
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.bars is not None:
            self.bars.stop()

    def __call__(self, event: "ProgressEvent") -> None:
        """Show an event, unless the run is still within the time a person waits without wondering."""
        now = time.monotonic()
        if now - self.started < self.quick_s:
            return
        if self.stream.isatty():
            self._draw(event)
        elif now >= self.next_line:
            self.next_line = now + _LINE_EVERY_S
            text = f"{_label(event)}: {event.done} of {event.total} requests, simulated {_clock(event.simulated_s)}"
            self.stream.write(f"{text}, left about {_clock(self._left(event, now))}\n")
            self.stream.flush()

    def _left(self, event: "ProgressEvent", now: float) -> float:
        """Return the seconds still to wait, as if every run took as long per request as those so far."""
        share = (event.index + event.done / max(event.total, 1)) / max(event.count, 1)
        return (now - self.started) * (1 - share) / share if share > 0 else 0.0

    def _draw(self, event: "ProgressEvent") -> None:
        if self.bars is None:
            self.bars = _make_bars(self.stream)
            self.bars.start()
        if event.run not in self.tasks:
            self.tasks[event.run] = self.bars.add_task(_label(event), total=event.total, simulated="")
        self.bars.update(
            self.tasks[event.run], completed=event.done, total=event.total, simulated=_clock(event.simulated_s)
        )


class PointsProgress:
    """Shows how many points of a sweep are done: one moving line on a terminal, a line now and then elsewhere.

    It speaks at the start, unless there is nothing to run: a first point may take longer than a person waits.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self.before: int | None = None
        self.next_line = self.started
        self.drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        if self.drawn:
            self.stream.write("\r\033[K")
            self.stream.flush()

    def __call__(self, done: int, count: int) -> None:
        """Show that ``done`` of ``count`` points are done; the first call says how many were so before."""
        if self.before is None:
            self.before = done
            if done == count:
                return
        now = time.monotonic()
        if now < self.next_line or done == count:
            return
        text = f"{done} of {count} points done"
        if (new := done - self.before) > 0:
            text += f", left about {_clock((now - self.started) * (count - done) / new)}"
        if self.stream.isatty():
            self.next_line, self.drawn = now + _REDRAW_S, True
            self.stream.write(f"\r\033[K{text}")
        else:
            self.next_line = now + _LINE_EVERY_S
            self.stream.write(f"{text}\n")
        self.stream.flush()


def _make_bars(stream: TextIO) -> "RichProgress":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("requests, simulated {task.fields[simulated]}, left"),
        TimeRemainingColumn(),
    )
    return RichProgress(*columns, console=Console(file=stream), transient=True)


def _label(event: "ProgressEvent") -> str:
    return event.run if event.count == 1 else f"{event.run} ({event.index + 1}/{event.count})"


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
