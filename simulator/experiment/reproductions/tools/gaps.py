"""The longest wait between two tokens of each request."""

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S
from simulator.engine.ledger import Ledger, iteration_ends
from simulator.experiment.reproductions.tools.world import Served

Float = NDArray[np.float64]


def longest_gap_s(served: Served) -> Float:
    """Return the longest time between consecutive tokens of each request, in seconds; 0 for single tokens."""
    found = np.zeros(max(request.index for request in served.requests) + 1)
    for ledger in served.ledgers:
        _note_longest(ledger, found)
    return found[[request.index for request in served.requests]] / PS_PER_S


def _note_longest(ledger: Ledger, found: Float) -> None:
    """Raise each request's value (ps) to the longest gap it had on one instance."""
    spans, runs = ledger.spans(), ledger.runs()
    if not len(spans):
        return
    spans = spans[np.lexsort((spans[:, 1], spans[:, 0]))]
    request, first, last = spans[:, 0], spans[:, 1], spans[:, 2]
    ends = iteration_ends(runs, np.arange(runs[:, 3].sum()))
    decoding = np.repeat(runs[:, 4] > 0, runs[:, 3])
    # Decode iterations, and for every iteration how many came up to and with it. The others make a span's first token
    # at most.
    token_ends, counted = ends[decoding], np.cumsum(decoding)
    gaps = np.diff(token_ends, append=token_ends[-1:])  # from each decode iteration to the next
    second, stop = counted[first], counted[last] - 1  # of the span's tokens after its first, among decode iterations
    more = second <= stop
    np.maximum.at(found, request[more], (token_ends[second[more]] - ends[first[more]]).astype(float))
    longer = second < stop
    if longer.any():
        bounds = np.stack([second[longer], stop[longer]], axis=1).ravel()
        np.maximum.at(found, request[longer], np.maximum.reduceat(gaps, bounds)[::2].astype(float))
    again = request[1:] == request[:-1]
    np.maximum.at(found, request[1:][again], (ends[first[1:]] - ends[last[:-1]])[again].astype(float))
