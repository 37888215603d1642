"""Inter-token latencies of a whole run from the ledgers: exact order statistics without a number per token."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.engine.ledger import Ledger, iteration_ends

Int = NDArray[np.int64]


class _Gaps(NamedTuple):
    """Arithmetic sequences ``first + growth * j`` (j < length), each value standing for ``weight`` gaps; ps."""

    first: Int
    growth: Int
    length: Int
    weight: Int


class InterTokenLatencies:
    """The multiset of all gaps between consecutive tokens of a request, over all requests; ps.

    While a request decodes without a pause, its gaps are the durations of the iterations it runs in, and so an
    instance's runs describe them: values by run, weights by how many decode. Pauses (preemption, a skipped iteration,
    migration) show as several spans of one request, whose gaps are added singly.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        runs = np.concatenate([ledger.runs() for ledger in ledgers])
        runs = runs[runs[:, 4] > 0]
        self._gaps = _Gaps(runs[:, 1], runs[:, 2], runs[:, 3], runs[:, 4])
        self._added, self._removed = _pauses(ledgers)
        self.count = int((self._gaps.length * self._gaps.weight).sum()) + len(self._added) - len(self._removed)

    def mean(self) -> float:
        """Return the mean gap in ps; NaN without any."""
        if not self.count:
            return float("nan")
        first, growth, length, weight = self._gaps
        spent = length * first + growth * (length * (length - 1) // 2)
        # Summed as whole numbers, in halves that 64 bits hold: a sum of floats would depend on how runs are cut.
        total = (int(((spent >> 32) * weight).sum()) << 32) + int(((spent & 0xFFFFFFFF) * weight).sum())
        return (total + int(self._added.sum()) - int(self._removed.sum())) / self.count

    def percentile(self, percent: float) -> float:
        """Return a percentile in ps, interpolated between neighbours as numpy does by default; NaN without any gap."""
        if not self.count:
            return float("nan")
        rank = percent / 100 * (self.count - 1)
        lower = int(rank)
        low = self._order_statistic(lower)
        if rank == lower:
            return float(low)
        if self._at_most(low) > lower + 1:
            return float(low)
        # A duration that pauses replaced is no gap, so the next value counts only if nothing was replaced.
        high = self._order_statistic(lower + 1) if len(self._removed) else self._next_above(low)
        return low + (high - low) * (rank - lower)

    def _at_most(self, value: int) -> int:
        pauses = int((self._added <= value).sum() - (self._removed <= value).sum())
        return _count_at_most(self._gaps, value) + pauses

    def _next_above(self, value: int) -> int:
        """Return the smallest gap above a value; there is one."""
        gaps = self._gaps
        steps = np.where(gaps.growth > 0, (value - gaps.first) // np.maximum(gaps.growth, 1) + 1, 0)
        following = gaps.first + gaps.growth * np.maximum(steps, 0)
        exists = (following > value) & (steps < gaps.length)
        return int(min(following[exists].min(initial=2**62), self._added[self._added > value].min(initial=2**62)))

    def _order_statistic(self, rank: int) -> int:
        """Return the gap with ``rank`` smaller or equal ones before it in sorted order."""
        gaps, added, removed = self._gaps, self._added, self._removed
        last = gaps.first + gaps.growth * (gaps.length - 1)
        low = int(min(gaps.first.min(initial=2**62), added.min(initial=2**62)))
        high = int(max(last.max(initial=0), added.max(initial=0)))
        below = 0  # gaps known to be at most `low - 1`
        # Bisection for the smallest value with more than `rank` gaps at or below it. Runs that lie wholly on one side
        # of the bracket leave the search, so that it costs a few passes over the runs rather than forty.
        while low < high:
            middle = (low + high) // 2
            at_most = below + _count_at_most(gaps, middle)
            at_most += int((added <= middle).sum() - (removed <= middle).sum())
            if at_most > rank:
                high = middle
            else:
                low = middle + 1
            under, over = last < low, gaps.first > high
            if (gone := under | over).any():
                below += int((gaps.length * gaps.weight)[under].sum())
                keep = ~gone
                gaps, last = _Gaps(*(column[keep] for column in gaps)), last[keep]
        return low


def _count_at_most(gaps: _Gaps, value: int) -> int:
    within = value - gaps.first
    steps = np.where(gaps.growth > 0, within // np.maximum(gaps.growth, 1) + 1, gaps.length)
    return int((np.where(within >= 0, np.minimum(steps, gaps.length), 0) * gaps.weight).sum())


def _pauses(ledgers: Sequence[Ledger]) -> tuple[Int, Int]:
    """Return the gaps across pauses, and the iteration durations that the runs count in their place."""
    requests, starts, ends, replaced = [], [], [], []
    for ledger in ledgers:
        spans, runs = ledger.spans(), ledger.runs()
        if not len(spans):
            continue
        requests.append(spans[:, 0])
        starts.append(iteration_ends(runs, spans[:, 1]))
        ends.append(iteration_ends(runs, spans[:, 2]))
        decoded = spans[spans[:, 3] == 1, 1]
        row = np.searchsorted(np.cumsum(runs[:, 3]), decoded, side="right")
        nth = decoded - (np.cumsum(runs[:, 3]) - runs[:, 3])[row]
        replaced.append(runs[row, 1] + runs[row, 2] * nth)
    if not requests:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    request, start, end = np.concatenate(requests), np.concatenate(starts), np.concatenate(ends)
    order = np.lexsort((start, request))
    request, start, end = request[order], start[order], end[order]
    again = request[1:] == request[:-1]
    gaps: Int = (start[1:] - end[:-1])[again]
    return gaps, np.concatenate(replaced)
