"""Prompts from a small pool, sent again and again: what shared-prefix load generators do."""

from dataclasses import dataclass

import numpy as np

from simulator.workload.table import Int, PrefixTable


@dataclass(frozen=True)
class PromptPool:
    """``system_prompts`` x ``users`` prompts of ``prompt_tokens``, the first ``system_tokens`` shared by a group.

    Each of the ``system_prompts`` groups has ``users`` prompts. All are sent in turn, in one shuffled order.
    """

    system_prompts: int
    users: int
    system_tokens: int
    prompt_tokens: int

    def prefixes(self, requests: int, rng: np.random.Generator) -> PrefixTable:
        """Return which content each of the requests' prompts has: its group's, then its own up to the last token."""
        size = self.system_prompts * self.users
        prompt = rng.permutation(size)[np.arange(requests) % size]
        ids: Int = np.column_stack([prompt // self.users, self.system_prompts + prompt])
        ends: Int = np.tile(np.array([self.system_tokens, self.prompt_tokens]), (requests, 1))
        ids, ends = (ids, ends) if 0 < self.system_tokens < self.prompt_tokens else (ids[:, 1:], ends[:, 1:])
        return PrefixTable(np.arange(requests + 1) * ids.shape[1], ids.ravel(), ends.ravel())
