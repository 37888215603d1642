"""Iteration times as papers and artifacts publish them: affine fits and short tables, with their source.

They serve to repeat what somebody measured on a machine that no profile here describes. A fit stands in YAML
(docs/reproductions.md) and makes a cost model by ``cost_model``.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from simulator.core import PS_PER_S, Request
from simulator.core.errors import InputError
from simulator.core.quantity import Duration, DurationOrZero
from simulator.cost.base import CostModel, Decodes
from simulator.cost.published_table import SignedDuration, TimeTable
from simulator.cost.terms import Seen
from simulator.workload.section import Count, Section

Factor = Annotated[float, Field(gt=0)]
# An iteration's prompt chunks: the tokens each has in the cache already, and its new ones.
Pieces = Sequence[tuple[int, int]]
_NO_KNOT = 2**62


class Overhead(Section):
    """Time that the fit leaves out: neither scaled nor split among pipeline stages."""

    iteration: DurationOrZero = 0.0
    token: DurationOrZero = Field(0.0, description="for each prompt token and each decoding request")


class _Fit(Section):
    """What all published fits have: how prompts and decodes in one iteration add up, and what comes on top.

    ``mixed``, of prompts that take P alone and decodes that take D: ``sum`` is P + D; ``sum_less_base`` takes away the
    smaller of what either takes at size 0, because weights are read once; ``max`` is the longer; ``prefill_of_all``
    counts each decode as one more prompt token. ``mixed_factor`` multiplies an iteration with both.

    ``stages``: of pipeline parallelism. The fit is that of one group of GPUs with all layers. Decodes are cut into as
    many micro-batches, which follow one another, so each makes a token in the time that one micro-batch takes through
    all stages; a prompt passes them all before the next iteration. ``hop`` is added for each stage.
    """

    source: str
    mixed: Literal["sum", "sum_less_base", "max", "prefill_of_all"] = "sum"
    mixed_factor: Factor = 1.0
    stages: Count = 1
    hop: DurationOrZero = 0.0
    overhead: Overhead = Overhead()

    def cost_model(self) -> "PublishedCost":
        """Return the cost model of an instance that takes these times."""
        return PublishedCost(self)

    @abstractmethod
    def prefill(self, pieces: Pieces, more: int) -> float:
        """Return seconds of prompt chunks, with ``more`` tokens that attend to nothing."""

    @abstractmethod
    def decode(self, requests: float) -> float:
        """Return seconds of a decode iteration without what its context adds; ``requests`` may be a fraction."""

    @abstractmethod
    def slope(self, requests: float) -> float:
        """Return seconds for each KV token that the decodes read."""


class PrefillFit(Section):
    """``base`` + ``token`` n + ``token_squared`` n^2, in tokens of each prompt; the base once an iteration."""

    base: DurationOrZero
    token: Duration
    token_squared: SignedDuration = 0.0


class DecodeFit(Section):
    """``base`` + ``context`` KV tokens read + ``request`` requests, for batches of ``from`` requests and more."""

    first: Count = Field(1, alias="from")
    base: Duration
    context: DurationOrZero
    request: SignedDuration = 0.0


class AffineScale(Section):
    """Factors on a fit's terms: the constants that a reproduction calibrates, or another GPU's bandwidth."""

    prefill: Factor = 1.0
    decode_base: Factor = 1.0
    decode_context: Factor = 1.0
    decode_request: Factor = 1.0


class AffineFit(_Fit):
    """Prefill in tokens and tokens squared, decode in context and batch, as DistServe's simulator has it (OSDI 2024).

    A chunk after k cached tokens counts (k + n)^2 - k^2 squares, so the chunks of a prompt have its squares.
    """

    kind: Literal["affine"]
    prefill_fit: PrefillFit = Field(alias="prefill")
    decode_fits: list[DecodeFit] = Field(alias="decode", min_length=1)
    scale: AffineScale = AffineScale()

    @model_validator(mode="after")
    def _ordered(self) -> "AffineFit":
        begins = [each.first for each in self.decode_fits]
        if begins[0] != 1 or begins != sorted(set(begins)):
            raise ValueError(f"decode: regimes must begin at 1 and rise, not {begins}")
        return self

    def prefill(self, pieces: Pieces, more: int) -> float:
        """Return seconds of prompt chunks; see ``AffineFit``."""
        fit = self.prefill_fit
        tokens = sum(new for _, new in pieces) + more
        squares = sum(new * (2 * cached + new) for cached, new in pieces)
        return self.scale.prefill * (fit.base + fit.token * tokens + fit.token_squared * squares)

    def decode(self, requests: float) -> float:
        """Return seconds of a decode iteration without context."""
        fit, scale = self._regime(requests), self.scale
        return scale.decode_base * fit.base + scale.decode_request * fit.request * requests

    def slope(self, requests: float) -> float:
        """Return seconds for each KV token read."""
        return self.scale.decode_context * self._regime(requests).context

    def _regime(self, requests: float) -> DecodeFit:
        # Below 1 (the time at size 0) the first regime goes on.
        return next((fit for fit in reversed(self.decode_fits) if fit.first <= requests), self.decode_fits[0])


class TableScale(Section):
    """Factors on a table's times."""

    prefill: Factor = 1.0
    decode: Factor = 1.0


class TableFit(_Fit):
    """Measured times: prefill by a prompt's tokens, decode by requests, straight between, the outer lines going on.

    A chunk takes what the table grows by from its cached tokens to its last one, but no less than a prompt of its size
    alone; of several in one iteration, all but one save the time at 0 tokens. ``context``: what each KV token read adds
    to a decode.
    """

    kind: Literal["table"]
    prefill_table: TimeTable = Field(alias="prefill")
    decode_table: TimeTable = Field(alias="decode")
    context: DurationOrZero = 0.0
    scale: TableScale = TableScale()

    def prefill(self, pieces: Pieces, more: int) -> float:
        """Return seconds of prompt chunks; see ``TableFit``."""
        at = self.prefill_table.at
        empty = at(0)
        grown = sum(max(at(new), at(cached + new) - at(cached)) - empty for cached, new in pieces)
        return self.scale.prefill * (empty + grown + at(more) - empty)

    def decode(self, requests: float) -> float:
        """Return seconds of a decode iteration without context."""
        return self.scale.decode * self.decode_table.at(requests)

    def slope(self, requests: float) -> float:
        """Return seconds for each KV token read."""
        return self.scale.decode * self.context


CostFit = Annotated[AffineFit | TableFit, Field(discriminator="kind")]


class PublishedCost(CostModel):
    """The cost model of a published fit."""

    def __init__(self, fit: _Fit) -> None:
        self.fit = fit
        self._base_ps = _ps(min(fit.prefill((), 0), fit.decode(0)))
        self._hops_ps = _ps(fit.hop * fit.stages)
        # By number of decoding requests: picoseconds without context, and for each KV token read.
        self._decodes: dict[int, tuple[int, int]] = {}

    def decode_run(self, requests: int, context: int, decodes: Decodes) -> tuple[int, int, int]:
        """Return (first, growth, limit); a fit has no knots in context, so there is no limit."""
        fixed, slope = self._decodes.get(requests) or self._look_up(requests)
        return fixed + slope * context, slope * requests, _NO_KNOT

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks by the fit's rule."""
        fit, pieces = self.fit, [(request.computed, new) for request, new in chunks]
        overhead = _ps(fit.overhead.token * tokens)
        if not requests:
            return self._alone(pieces, 0) + overhead
        if fit.mixed == "prefill_of_all":
            both = self._alone(pieces, requests) + _ps(fit.overhead.token * requests)
        else:
            prefill, decode = self._alone(pieces, 0), self.decode_run(requests, context, decodes)[0]
            # What comes once an iteration is in both.
            once = self._hops_ps + _ps(fit.overhead.iteration)
            less = self._base_ps if fit.mixed == "sum_less_base" else 0
            both = max(prefill, decode) if fit.mixed == "max" else prefill + decode - once - less
        return round(fit.mixed_factor * both) + overhead

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Name the fit's source."""
        return {"iteration": f"published: {self.fit.source}"}

    def _alone(self, pieces: Pieces, more: int) -> int:
        return _ps(self.fit.prefill(pieces, more) + self.fit.overhead.iteration) + self._hops_ps

    def _look_up(self, requests: int) -> tuple[int, int]:
        fit = self.fit
        batches = min(requests, fit.stages)
        each = requests / batches
        fixed = _ps(fit.decode(each) + fit.overhead.iteration + fit.overhead.token * requests) + self._hops_ps
        if fixed <= 0:
            raise InputError(f"the published fit gives {requests} decoding requests {fixed / PS_PER_S} s")
        self._decodes[requests] = found = fixed, _ps(fit.slope(each) / batches)
        return found


def _ps(seconds: float) -> int:
    return round(seconds * PS_PER_S)
