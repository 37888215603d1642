"""Prompts without what tells the least: sentences or demonstrations are left out, the instruction stays."""

from math import ceil
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.shortened import Place, Shortened
from simulator.workload.table import Int


@technique("prompt_pruning")
class PromptPruning(Shortened):
    """A ``share`` of each prompt beyond its first ``keep`` tokens is left out, as a small ``scorer`` model ranks it.

    Selective Context leaves out half. A scorer of null costs nothing, as where demonstrations are ranked in advance
    (DYNAICL).
    """

    source = "Selective Context, arXiv 2310.06201; DYNAICL, arXiv 2305.11170"
    changes = "prompt tokens beyond the kept ones * (1 - share), and one pass of the scorer over the whole prompt"
    exclusive = "length of the prompts"

    def __init__(
        self,
        *,
        share: Annotated[float, Field(gt=0, lt=1)] = 0.5,
        keep: Annotated[int, Field(ge=0)] = 0,
        scorer: str | None = "llama-3.2-1b",
        runs_on: Place = "same",
    ) -> None:
        super().__init__(scorer, runs_on)
        self._rest = 1 - share
        self._keep = keep

    def kept(self, tokens: Int) -> Int:
        """Return the kept tokens and (1 - share) of the others, rounded up."""
        beyond = np.maximum(tokens - self._keep, 0)
        return np.minimum(tokens, self._keep) + np.ceil(beyond * self._rest).astype(np.int64)

    def original(self, tokens: int) -> int:
        """Return the tokens that so many were left of."""
        return min(tokens, self._keep) + ceil(max(tokens - self._keep, 0) / self._rest)
