"""A prompt's fixed beginning replaced by a few trained tokens."""

from math import ceil
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.core import InputError
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.shortened import Shortened
from simulator.workload.table import Int


@technique("soft_prompt")
class SoftPrompt(Shortened):
    """The first ``prefix`` tokens of each prompt (its instruction) become ``tokens`` soft ones, trained in advance.

    Prompts no longer than that are taken as a part of it. The default ratio, 26, is the most that gist tokens reach.
    """

    source = "gist tokens, arXiv 2304.08467"
    changes = "prompt tokens - (prefix - tokens); nothing is computed for it while serving"
    exclusive = "beginning of the prompts"

    def __init__(self, *, prefix: Annotated[int, Field(ge=1)] = 520, tokens: Annotated[int, Field(ge=1)] = 20) -> None:
        if tokens > prefix:
            raise InputError(f"{tokens} soft tokens for a prefix of {prefix}", hint="fewer tokens than the prefix has")
        super().__init__(None, "same")
        self._prefix = prefix
        self._tokens = tokens

    def kept(self, tokens: Int) -> Int:
        """Return n - prefix + tokens, or the prefix's share of the soft tokens."""
        part = np.ceil(np.minimum(tokens, self._prefix) * self._tokens / self._prefix).astype(np.int64)
        return part + np.maximum(tokens - self._prefix, 0)

    def original(self, tokens: int) -> int:
        """Return the tokens that so many stand for."""
        part = ceil(min(tokens, self._tokens) * self._prefix / self._tokens)
        return part + max(tokens - self._tokens, 0)
