"""Iterations asked of a cost model by hand."""

from collections.abc import Iterable, Sequence

from simulator.core import Request
from simulator.cost.base import CostModel


class Batch:
    """Decoding requests as a cost model sees them, stepped by hand."""

    def __init__(self, contexts: Iterable[int]) -> None:
        self.contexts = list(contexts)

    @property
    def longest(self) -> int:
        return max(self.contexts, default=0)

    def run(self, cost: CostModel) -> tuple[int, int, int]:
        """Return (first, growth, limit) for the batch as it stands."""
        return cost.decode_run(len(self.contexts), sum(self.contexts), self)

    def later(self, iterations: int) -> "Batch":
        """Return the batch after so many iterations."""
        return Batch(context + iterations for context in self.contexts)


def decode_ps(cost: CostModel, contexts: Iterable[int]) -> int:
    """Return the duration of an iteration that only decodes."""
    return Batch(contexts).run(cost)[0]


def chunks(pieces: Sequence[tuple[int, int]]) -> list[tuple[Request, int]]:
    """Return prompt chunks of (cached, new) tokens as a plan holds them."""
    made = []
    for index, (cached, new) in enumerate(pieces):
        request = Request(index, 0, cached + new, 10)
        request.computed = cached
        made.append((request, new))
    return made


def mixed_ps(cost: CostModel, pieces: Sequence[tuple[int, int]], contexts: Sequence[int] = ()) -> int:
    """Return the duration of an iteration with prompt chunks of (cached, new) tokens, and decodes."""
    tokens = sum(new for _, new in pieces)
    return cost.mixed(chunks(pieces), tokens, len(contexts), sum(contexts), Batch(contexts))
