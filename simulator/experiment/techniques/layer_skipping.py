"""Tokens that skip some of the layers."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.cost.depth import SkippedLayers
from simulator.cost.kv_memory import Held
from simulator.cost.terms import Terms
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import Speculation


@technique("layer_skipping")
class LayerSkipping(Technique):
    """Every token skips a ``share`` of the layers.

    ``aligned``: all decodes of an iteration skip the same ones, so whole layers are left out, while prompts run all
    (SkipDecode). Else each token skips its own (mixture of depths), prompts too: every layer's weights are still read,
    with fewer tokens and fewer keys and values in it.
    """

    level = "model"
    source = "Del Corro et al., SkipDecode, arXiv 2307.02628; Raposo et al., Mixture-of-Depths, arXiv 2404.02258"
    changes = "layers that decodes run; not aligned: tokens and KV in each layer instead"
    exclusive = "depth"

    def __init__(self, *, share: Annotated[float, Field(gt=0, lt=1)] = 0.25, aligned: bool = True) -> None:
        self._share = share
        self._aligned = aligned

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Refuse to be with speculative decoding: a verification needs the whole model's answer."""
        if any(isinstance(each, Speculation) for each in before):
            raise InputError("layer skipping by tokens that speculative decoding verifies", hint="keep one of them")

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms of the layers that are run."""
        return SkippedLayers(terms, self._share, aligned=self._aligned)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory without the keys and values of tokens that skip a layer for good."""
        return held if self._aligned else held._replace(token=held.token * (1 - self._share))
