"""Errors as people read them: fractions as signed percentages."""

import re
from collections.abc import Mapping, Sequence
from typing import Any


def percent(value: float | None, *, signed: bool = False) -> str:
    """Return a fraction as a percentage, ``-`` where there is none."""
    if value is None:
        return "-"
    return f"{value * 100:+.1f}%" if signed else f"{value * 100:.1f}%"


def with_bias(mape: float | None, bias: float | None) -> str:
    """Return a mean absolute error and, in brackets, the mean signed one."""
    return "-" if mape is None else f"{percent(mape)} ({percent(bias, signed=True)})"


def group_name(row: Mapping[str, Any], columns: Sequence[str]) -> str:
    """Return what identifies a row in one phrase: the last part of each column's value, what says nothing left out."""
    parts = [str(row[column] or "").rpartition("/")[2] for column in columns]
    return " ".join(part for part in parts if part and part != "native")


def stage_name(stage: Mapping[str, Any]) -> str:
    """Return an open-loop stage's name without the date that its run's name may begin with."""
    return f"{re.sub(r'^[0-9-]+-', '', stage['run'])} {stage['stage']}"


def reasons(missed: Sequence[Mapping[str, Any]]) -> list[tuple[str, int, str]]:
    """Return why points were not covered: each reason once, how many it concerns, and the first one's place."""
    places: dict[str, list[str]] = {}
    for each in missed:
        place = str(each.get("where") or f"{each.get('run')} {each.get('stage', '')}".strip())
        places.setdefault(each["reason"], []).append(place)
    return [(reason, len(found), found[0]) for reason, found in places.items()]
