"""The ledger: what an instance ran, as runs of iterations, and in which of them each request made tokens.

Nothing is stored per token. Token times, inter-token latencies and time lines come from here, vectorised, afterwards.
"""

from array import array
from struct import Struct
from typing import Final

import numpy as np
from mypy_extensions import mypyc_attr
from numpy.typing import NDArray

Int = NDArray[np.int64]

RUN_COLUMNS: Final = (
    "start",  # ps, start of the first iteration
    "first",  # ps, duration of the first iteration
    "growth",  # ps, by which each further iteration is longer than the one before
    "iterations",
    "decodes",  # requests decoding in each of these iterations
    "prefills",  # requests with a prompt chunk
    "prefill_tokens",
    "context",  # KV tokens that the decodes read in the first iteration
    "waiting",  # requests queued at the instance
    "blocks_used",  # KV blocks in use at the start
    "preempted",  # requests preempted by this plan
)
SPAN_COLUMNS: Final = (
    "request",
    "first",
    "last",
    "decoded",  # 1 if the span's first token came from a decode iteration, 0 if from the end of a prompt
)
pack_run = Struct(f"{len(RUN_COLUMNS)}q").pack  # figures of a run, in the order of RUN_COLUMNS
pack_span = Struct(f"{len(SPAN_COLUMNS)}q").pack  # in the order of SPAN_COLUMNS


@mypyc_attr(allow_interpreted_subclasses=True)
class Ledger:
    """Runs and spans of one instance, appended as they happen.

    ``add_packed_run(pack_run(...))`` appends a run, ``add_packed_span(pack_span(...))`` a span of iterations in each of
    which a request made a token.
    """

    __slots__ = ("_runs", "_spans", "add_packed_run", "add_packed_span", "stalls")

    def __init__(self) -> None:
        self._runs = array("q")
        self._spans = array("q")
        self.stalls = 0  # iterations that requests which were decoding sat out together
        # Packing a row and appending its bytes takes 0.46 us, extending the array by its numbers 1.35 us; the call of a
        # Python method around the two would be another 0.2, three times a request.
        self.add_packed_run = self._runs.frombytes
        self.add_packed_span = self._spans.frombytes

    def add_span(self, request: int, first: int, last: int, decoded: int) -> None:
        """Append a span, in the order of ``SPAN_COLUMNS``."""
        self.add_packed_span(pack_span(request, first, last, decoded))

    def runs(self) -> Int:
        """Return the runs in time order, shape (runs, len(RUN_COLUMNS)); iterations are numbered through from 0."""
        return np.frombuffer(self._runs, dtype=np.int64).reshape(-1, len(RUN_COLUMNS))

    def spans(self) -> Int:
        """Return the spans, shape (spans, len(SPAN_COLUMNS)): one token in each iteration from first to last.

        Iterations between them in which nobody decoded are stalls, and make none.
        """
        spans = np.frombuffer(self._spans, dtype=np.int64).reshape(-1, len(SPAN_COLUMNS))
        return _begun(spans, self.runs()) if self.stalls and len(spans) else spans


def _begun(spans: Int, runs: Int) -> Int:
    """Return spans with those that began to wait in a stall begin with the iteration after it."""
    numbers = np.cumsum(runs[:, 3]) - runs[:, 3]
    row = np.searchsorted(numbers, spans[:, 1], side="right") - 1
    waits = (spans[:, 3] == 1) & (runs[row, 4] == 0)
    if not waits.any():
        return spans
    decoding = np.flatnonzero(runs[:, 4] > 0)
    spans = spans.copy()
    spans[waits, 1] = numbers[decoding[np.searchsorted(decoding, row[waits])]]
    return spans


def iteration_ends(runs: Int, numbers: Int) -> Int:
    """Return when iterations ended, in ps; ``numbers`` has any shape and counts iterations from 0."""
    firsts = np.cumsum(runs[:, 3]) - runs[:, 3]
    row = np.searchsorted(firsts, numbers, side="right") - 1
    start, first, growth = runs[row, 0], runs[row, 1], runs[row, 2]
    done = numbers - firsts[row] + 1
    ends: Int = start + done * first + growth * (done * (done - 1) // 2)
    return ends
