"""Time in which requests that had begun to answer made no token, from the spans in which they made them."""

import numpy as np
from numpy.typing import NDArray

from simulator.report.results import Column, RunTables

# What a pause counts as, by whether the next token came from the same instance.
PAUSED, MOVED = "preempted_s", "transfer_s"


def pauses_of(tables: RunTables, numbers: Column) -> dict[str, NDArray[np.float64]]:
    """Return seconds of pause for each request of ``numbers``: ``preempted_s`` and ``transfer_s``, if anybody has them.

    A pause lasts from the last token before it to the first one after it. It counts as a transfer where the request
    went on at another instance. Empty where the results hold no ``spans.parquet``.
    """
    spans = tables.spans(("request", "instance", "first_token_s", "last_token_s"))
    if spans is None or len(spans["request"]) < 2 or not len(numbers):
        return {}
    order = np.lexsort((spans["first_token_s"], spans["request"]))
    request, instance = spans["request"][order], spans["instance"][order]
    again = np.flatnonzero(request[1:] == request[:-1])
    gap = spans["first_token_s"][order][again + 1] - spans["last_token_s"][order][again]
    moved = instance[again + 1] != instance[again]
    place = np.argsort(numbers, kind="stable")
    row = place[np.searchsorted(numbers[place], request[again])]
    found = {}
    for name, mine in ((PAUSED, ~moved), (MOVED, moved)):
        seconds = np.bincount(row[mine], gap[mine], minlength=len(numbers)).astype(np.float64)
        if seconds.any():
            found[name] = seconds
    return found
