"""What the engine asks of a cost model: how long the next iterations take."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

from mypy_extensions import mypyc_attr

from simulator.core import Request
from simulator.cost.terms import Seen


class Decodes(Protocol):
    """What else a cost model may ask about the decoding requests; reading it may cost something."""

    @property
    def longest(self) -> int:
        """KV tokens that the one with the longest context reads in the next iteration."""
        ...


@mypyc_attr(allow_interpreted_subclasses=True)
class CostModel(ABC):
    """How long an iteration takes on one instance, in whole picoseconds.

    A run of decode iterations has a closed form because the n-th takes ``first + n * growth``: between two knots of a
    cost table, time is affine in context, and context grows by a constant. Answers must depend on nothing but what is
    asked, and ``decode_run`` of a later iteration must continue the earlier answer exactly.
    """

    @abstractmethod
    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit): the next ``limit`` iterations that only decode take first, first + growth, ...

        ``requests`` decode, and read ``context`` KV tokens in the first of these iterations, ``requests`` more in each
        further one.
        """

    @abstractmethod
    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks and decodes.

        ``chunks``: requests and their new tokens, ``tokens`` in all; ``computed`` has the cached ones before them.
        ``requests`` decode meanwhile and read ``context`` KV tokens.
        """

    @abstractmethod
    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return which terms come from measurements and which from a roofline, for the results.

        With the largest of what a run asked for also where that left what was measured.
        """


@mypyc_attr(allow_interpreted_subclasses=True)
class FixedCost(CostModel):
    """Every iteration takes the same time: for tests of queueing and for replaying recorded decisions."""

    def __init__(self, iteration_ps: int) -> None:
        self.iteration_ps = iteration_ps

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return the fixed duration, without growth or limit."""
        return self.iteration_ps, 0, 2**62

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the fixed duration."""
        return self.iteration_ps

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Say that nothing is modelled."""
        return {"iteration": "fixed"}
