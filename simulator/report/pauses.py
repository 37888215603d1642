"""Time in which requests that had begun to answer made no token, from the spans in which they made them."""

import numpy as np
from numpy.typing import NDArray

from simulator.report.results import Column, RunTables

# What a request made no token for: its KV went to another instance, or it waited for something else.
MOVED = {"transfer": "transfer_s", "migration": "migration_s"}
PAUSED = "preempted_s"


def pauses_of(tables: RunTables, numbers: Column) -> dict[str, NDArray[np.float64]]:
    """Return seconds of pause for each request of ``numbers``: ``preempted_s``, ``transfer_s`` and ``migration_s``.

    A pause lasts from the last token before it to the first one after it. Of that, what ``moves.parquet`` says that the
    request made no token for counts as a transfer or a migration. What nobody has is left out; all is where the
    results hold no ``spans.parquet``.
    """
    gaps = _gaps(tables, numbers)
    if gaps is None:
        return {}
    found: dict[str, NDArray[np.float64]] = {}
    moves = tables.moves(("kind", "request", "stopped_s"))
    if moves is not None:
        row = _rows(numbers, moves["request"])
        for kind, name in MOVED.items():
            mine = moves["kind"] == kind
            stopped = np.bincount(row[mine], moves["stopped_s"][mine], minlength=len(numbers)).astype(np.float64)
            # No more than there is: one whose run was cut short lacks its last stretch of tokens.
            found[name] = np.minimum(stopped, gaps)
            gaps = gaps - found[name]
    found[PAUSED] = gaps
    return {name: seconds for name, seconds in found.items() if seconds.any()}


def _gaps(tables: RunTables, numbers: Column) -> NDArray[np.float64] | None:
    """Return the seconds between the stretches in which each request made its tokens; None where none are known."""
    spans = tables.spans(("request", "first_token_s", "last_token_s"))
    if spans is None or len(spans["request"]) < 2 or not len(numbers):
        return None
    order = np.lexsort((spans["first_token_s"], spans["request"]))
    request = spans["request"][order]
    again = np.flatnonzero(request[1:] == request[:-1])
    gap = spans["first_token_s"][order][again + 1] - spans["last_token_s"][order][again]
    return np.bincount(_rows(numbers, request[again]), gap, minlength=len(numbers)).astype(np.float64)


def _rows(numbers: Column, requests: Column) -> NDArray[np.int64]:
    """Return where each request stands in ``numbers``."""
    place = np.argsort(numbers, kind="stable")
    return place[np.searchsorted(numbers[place], requests)]
