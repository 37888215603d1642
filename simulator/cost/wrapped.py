"""A cost model around another one: what a technique derives from to change how long iterations take."""

from collections.abc import Sequence
from typing import Any

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.terms import Seen


class WrappedCost(CostModel):
    """Answers as the model within does; a technique overrides what it changes, and ``note`` tells the results of it."""

    def __init__(self, cost: CostModel, note: str) -> None:
        self._cost = cost
        self._note = note

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit) of iterations that only decode; see ``CostModel``."""
        return self._cost.decode_run(requests, context, decodes)

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        return self._cost.mixed(chunks, tokens, requests, context, decodes)

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on, the technique among it."""
        found = self._cost.coverage(seen)
        return {**found, "techniques": [*found.get("techniques", []), self._note]}
