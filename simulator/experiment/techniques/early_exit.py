"""Tokens, or whole requests, that leave the model before its last layer."""

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import InputError
from simulator.cost.build import kernel_library
from simulator.cost.depth import Depths, EarlyExitTerms
from simulator.cost.linear import LinearTimes
from simulator.cost.terms import Terms
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import Speculation
from simulator.model import Attention, LatentAttention, Linear

Float = NDArray[np.float64]
Inside = Annotated[float, Field(gt=0, lt=1)]


@technique("early_exit")
class EarlyExit(Technique):
    """A share ``shares[i]`` of the tokens leaves after a share ``depths[i]`` of the layers, the rest goes through all.

    ``of``: each ``token`` decides for itself, after prompts through all layers, or each ``request`` as a whole.
    ``batch``: a batch goes as deep as its deepest (``waits``), or deeper layers run without who left (``shrinks``).
    ``decides``: by a small classifier, which costs nothing here, or by the head's ``softmax`` at every exit. Keys
    and values of layers that a token skips are computed from its last state.
    """

    level = "model"
    source = "Schuster et al., CALM, arXiv 2207.07061, sections 3.1 (state propagation) and 3.5 (confidence)"
    changes = (
        "layers that decodes run, by the deepest of a batch or with fewer tokens; KV projections of skipped layers"
    )
    exclusive = "depth"

    def __init__(
        self,
        *,
        depths: Annotated[list[Inside], Field(min_length=1)],
        shares: Annotated[list[Inside], Field(min_length=1)],
        of: Literal["token", "request"] = "token",
        batch: Literal["waits", "shrinks"] = "waits",
        decides: Literal["classifier", "softmax"] = "classifier",
    ) -> None:
        if len(depths) != len(shares) or sum(shares) > 1:
            raise InputError(
                f"{len(depths)} depths and {len(shares)} shares that sum to {sum(shares):g}",
                hint="a share for each depth, at most 1 in all",
            )
        self._depths = Depths(depths, shares)
        self._exits = len(depths)
        self._by_request = of == "request"
        self._shrinks = batch == "shrinks"
        self._softmax = decides == "softmax"

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Refuse to be with speculative decoding: a verification needs every token's last layer."""
        if any(isinstance(each, Speculation) for each in before):
            raise InputError("early exit of tokens that speculative decoding verifies", hint="keep one of them")

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms of the layers that are run."""
        return EarlyExitTerms(
            terms,
            self._depths,
            shrinks=self._shrinks,
            prompts_too=self._by_request,
            checks=self._exits if self._softmax else 0,
            fill=None if self._by_request else _kv_projections(parts),
        )


def _kv_projections(parts: Parts) -> Callable[[Float], Float]:
    """Return what gives seconds of the keys and values of all layers for some tokens."""
    model, profile = parts.model, parts.profile
    times = LinearTimes(profile, kernel_library(profile.tables, parts.engine.kernels))
    products = [
        (kind.count, Linear("kv_fill", model.hidden, _outputs(kind.attention, parts.parallel.tensor), dtype))
        for kind in model.kinds
        for dtype in [model.precision_of(kind).attention]
    ]
    return lambda tokens: np.asarray(
        sum(count * times.seconds(linear, np.maximum(tokens, 1.0)) for count, linear in products)
    )


def _outputs(attention: Attention | LatentAttention, tensor_parallel: int) -> int:
    return attention.kv_numbers(tensor_parallel)
