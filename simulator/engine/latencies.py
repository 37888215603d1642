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


class _Singles(NamedTuple):
    """Single values in ps, each standing for ``weight`` gaps."""

    value: Int
    weight: Int

    @classmethod
    def of(cls, *parts: "_Singles") -> "_Singles":
        """Return several as one."""
        return cls(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))

    def total(self) -> int:
        """Return the sum of all gaps in ps."""
        return sum(value * weight for value, weight in zip(self.value.tolist(), self.weight.tolist(), strict=True))

    def at_most(self, value: int) -> int:
        """Return how many gaps are at most so long."""
        return int(self.weight[self.value <= value].sum())


_NONE = _Singles(np.empty(0, np.int64), np.empty(0, np.int64))


class InterTokenLatencies:
    """The multiset of all gaps between consecutive tokens of a request, over all requests; ps.

    While a request decodes without a pause, its gaps are the durations of the iterations it runs in, and so an
    instance's runs describe them: values by run, weights by how many decode. Pauses (preemption, a skipped iteration,
    migration) show as several spans of one request, whose gaps are added singly; iterations that all who decode sit out
    lengthen the gap of each of them.
    """

    def __init__(self, ledgers: Sequence[Ledger]) -> None:
        runs = np.concatenate([ledger.runs() for ledger in ledgers])
        runs = runs[runs[:, 4] > 0]
        gaps = self._gaps = _Gaps(*(np.ascontiguousarray(runs[:, column]) for column in (1, 2, 3, 4)))
        added, removed = zip(_pauses(ledgers), *(_stalls(ledger) for ledger in ledgers if ledger.stalls), strict=True)
        self._added, self._removed = _Singles.of(*added), _Singles.of(*removed)
        numbers = gaps.length * gaps.weight
        self._more, self._fewer = int(self._added.weight.sum()), int(self._removed.weight.sum())
        self.count = int(numbers.sum()) + self._more - self._fewer
        self._last = gaps.first + gaps.growth * (gaps.length - 1)
        # How many gaps belong to runs that begin, and that end, at or below a value: bounds for any order statistic.
        self._begun, self._ended = _running_total(gaps.first, numbers), _running_total(self._last, numbers)

    def mean(self) -> float:
        """Return the mean gap in ps; NaN without any."""
        if not self.count:
            return float("nan")
        first, growth, length, weight = self._gaps
        spent = length * first + growth * (length * (length - 1) // 2)
        # Summed as whole numbers, in halves that 64 bits hold: a sum of floats would depend on how runs are cut.
        total = (int(((spent >> 32) * weight).sum()) << 32) + int(((spent & 0xFFFFFFFF) * weight).sum())
        return (total + self._added.total() - self._removed.total()) / self.count

    def percentile(self, percent: float) -> float:
        """Return a percentile in ps, interpolated between neighbours as numpy does by default; NaN without any gap."""
        if not self.count:
            return float("nan")
        rank = percent / 100 * (self.count - 1)
        lower = int(rank)
        low = self._order_statistic(lower)
        if rank == lower:
            return float(low)
        return low + (self._order_statistic(lower + 1) - low) * (rank - lower)

    def _order_statistic(self, rank: int) -> int:
        """Return the gap with ``rank`` smaller or equal ones before it in sorted order."""
        low, high = self._bracket(rank)
        # Of the runs, only those that reach into the bracket are searched: a few of very many.
        under, over = self._last < low, self._gaps.first > high
        below = int((self._gaps.length * self._gaps.weight)[under].sum())
        gaps = _Gaps(*(column[~(under | over)] for column in self._gaps))
        while low < high:
            middle = (low + high) // 2
            at_most = below + _count_at_most(gaps, middle)
            at_most += self._added.at_most(middle) - self._removed.at_most(middle)
            if at_most > rank:
                high = middle
            else:
                low = middle + 1
        return low

    def _bracket(self, rank: int) -> tuple[int, int]:
        """Return two values that have the order statistic between them."""
        values, totals = self._begun
        # Pauses could add gaps below any value, and take away gaps below any value.
        index = int(np.searchsorted(totals, rank - self._more, side="right"))
        low = int(values[index]) if rank >= self._more and index < len(values) else self._least()
        values, totals = self._ended
        index = int(np.searchsorted(totals, rank + self._fewer, side="right"))
        most = int(max(self._last.max(initial=0), self._added.value.max(initial=0)))
        return low, int(values[index]) if index < len(values) else most

    def _least(self) -> int:
        return int(min(self._gaps.first.min(initial=2**62), self._added.value.min(initial=2**62)))


def _running_total(values: Int, numbers: Int) -> tuple[Int, Int]:
    order = np.argsort(values)
    return values[order], np.cumsum(numbers[order])


def _count_at_most(gaps: _Gaps, value: int) -> int:
    within = value - gaps.first
    steps = np.where(gaps.growth > 0, within // np.maximum(gaps.growth, 1) + 1, gaps.length)
    return int((np.where(within >= 0, np.minimum(steps, gaps.length), 0) * gaps.weight).sum())


def _pauses(ledgers: Sequence[Ledger]) -> tuple[_Singles, _Singles]:
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
        return _NONE, _NONE
    request, start, end = np.concatenate(requests), np.concatenate(starts), np.concatenate(ends)
    order = np.lexsort((start, request))
    request, start, end = request[order], start[order], end[order]
    again = request[1:] == request[:-1]
    gaps, durations = (start[1:] - end[:-1])[again], np.concatenate(replaced)
    return _Singles(gaps, np.ones_like(gaps)), _Singles(durations, np.ones_like(durations))


def _stalls(ledger: Ledger) -> tuple[_Singles, _Singles]:
    """Return the gaps across iterations that requests sat out together, and the durations counted in their place."""
    runs, spans = ledger.runs(), ledger.spans()
    numbers = np.cumsum(runs[:, 3]) - runs[:, 3]
    quiet = np.flatnonzero(runs[:, 4] == 0)
    # Who made a token before such an iteration and makes one after it.
    begun = np.searchsorted(np.sort(spans[:, 1]), numbers[quiet])
    waiting = begun - np.searchsorted(np.sort(spans[:, 2]), numbers[quiet])
    quiet, waiting = quiet[waiting > 0], waiting[waiting > 0]
    if not len(quiet):
        return _NONE, _NONE
    decoding = np.flatnonzero(runs[:, 4] > 0)
    after = decoding[np.searchsorted(decoding, quiet)]
    # Of several in a row, the first is sat out by some, the next by those and whoever joined them, and so on.
    first = np.concatenate(([True], after[1:] != after[:-1]))
    last = np.concatenate((first[1:], [True]))
    joined = waiting - np.where(first, 0, np.concatenate(([0], waiting[:-1])))
    made = runs[quiet - 1]
    made_at = made[:, 0] + made[:, 3] * made[:, 1] + made[:, 2] * (made[:, 3] * (made[:, 3] - 1) // 2)
    gaps = runs[after, 0] + runs[after, 1] - made_at
    return _Singles(gaps, joined), _Singles(runs[after[last], 1], waiting[last])
