"""What a reproduction hands back: a value a seed for each target, and a figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """Our values for a target, one a seed or a single one; ``uncalibrated``: those without calibrated constants."""

    ours: Sequence[float]
    uncalibrated: Sequence[float] | None = None


@dataclass(frozen=True)
class Series:
    """A line or, with ``paper``, the paper's points; ``spread`` is the standard deviation of each y."""

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    spread: Sequence[float] | None = None
    paper: bool = False


@dataclass(frozen=True)
class Panel:
    """One plot. Series of one name, ours and the paper's, get one colour; text for x makes groups of bars."""

    title: str
    x_label: str
    y_label: str
    series: Sequence[Series]
    log_y: bool = False
    limit: float | None = None  # a horizontal line, such as an SLO


@dataclass(frozen=True)
class Figure:
    """The paper's figure, ours beside it."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Outcome:
    """What was found: a row for each target of the set-up, a figure, and what a reader must know besides."""

    rows: Mapping[str, Row]
    figure: Figure | None = None
    notes: Sequence[str] = ()
