"""Retrieval-augmented generation: retrieved passages make prompts longer, or take a long document's place."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.core.quantity import DurationOrZero
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.workload.table import Workload
from simulator.workload.transforms import map_prompts, with_lead


@technique("rag")
class Rag(Technique):
    """``chunks`` passages of ``chunk_tokens`` come to each prompt, or replace all but ``question`` tokens of it.

    With ``question``, a prompt is its document and a question of so many tokens: the passages replace the document
    where they are shorter. Without, they are added at the end. ``retrieval`` is what looking them up takes:
    it has no default but 0, for it is the index's.
    """

    level = "data"
    source = "Lewis et al., arXiv 2005.11401"
    changes = "prompt tokens + chunks * chunk_tokens, or down to question + chunks * chunk_tokens; retrieval before"
    exclusive = "passages in the prompts"

    def __init__(
        self,
        *,
        chunks: Annotated[int, Field(ge=1)] = 5,
        chunk_tokens: Annotated[int, Field(ge=1)] = 200,
        question: Annotated[int, Field(ge=1)] | None = None,
        retrieval: DurationOrZero = 0.0,
    ) -> None:
        self._passages = chunks * chunk_tokens
        self._question = question
        self._retrieval = retrieval

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the requests with passages, after their retrieval."""
        if self._question is None:
            # Passages come last: what prompts share at their beginning they go on sharing.
            changed = replace(workload, prompt_tokens=workload.prompt_tokens + self._passages)
        else:
            most = self._question + self._passages
            changed = replace(map_prompts(workload, lambda n: np.minimum(n, most)), prefix=None)
        return with_lead(changed, np.full(len(workload), self._retrieval)) if self._retrieval else changed
