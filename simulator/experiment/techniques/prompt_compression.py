"""Prompts compressed token by token, as LLMLingua does it."""

from math import ceil
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.shortened import Place, Shortened
from simulator.workload.table import Int


@technique("prompt_compression")
class PromptCompression(Shortened):
    """Prompts become ``ratio`` times shorter, after a small ``compressor`` model read them once.

    The compressor runs on the ``same`` GPUs before each prompt or on its ``own`` GPU before the request is sent; null:
    it costs nothing. LLMLingua compresses up to 20 times; 2 to 5 times is what it keeps answers at.
    """

    source = "LLMLingua, arXiv 2310.05736"
    changes = "prompt tokens / ratio, and one pass of the compressor over the original prompt"
    exclusive = "length of the prompts"

    def __init__(
        self,
        *,
        ratio: Annotated[float, Field(ge=1, le=100)] = 4.0,
        compressor: str | None = "llama-3.2-1b",
        runs_on: Place = "same",
    ) -> None:
        super().__init__(compressor, runs_on)
        self._ratio = ratio

    def kept(self, tokens: Int) -> Int:
        """Return n / ratio, rounded up."""
        return np.ceil(tokens / self._ratio).astype(np.int64)

    def original(self, tokens: int) -> int:
        """Return tokens * ratio, rounded up."""
        return ceil(tokens * self._ratio)
