"""Long prompts replaced by a summary that another model writes."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.beside import cost_alone, seconds_alone
from simulator.experiment.techniques.registry import technique
from simulator.workload.table import PrefixTable, Workload
from simulator.workload.transforms import with_lead


@technique("prompt_summary")
class PromptSummary(Technique):
    """Prompts of more than ``tokens`` become summaries of that length, written by ``summarizer`` on a GPU of its own.

    The request reaches the cluster when its summary is done, as if no other were being written: prefill of the prompt
    and decode of the summary at batch 1, on a GPU of the experiment's first kind. Summaries share no prefix.
    """

    level = "data"
    source = "RECOMP, arXiv 2310.04408"
    changes = "prompt tokens down to the summary's; the summariser's prefill and decode before the request arrives"
    exclusive = "length of the prompts"

    def __init__(self, *, tokens: Annotated[int, Field(ge=1)] = 256, summarizer: str = "llama-3.2-1b") -> None:
        self._tokens = tokens
        self._summarizer = summarizer

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the requests with summaries as prompts, delayed by writing them."""
        prompts = workload.prompt_tokens
        long = prompts > self._tokens
        short = replace(
            workload,
            prompt_tokens=np.where(long, self._tokens, prompts),
            prefix=None if workload.prefix is None else _only(workload.prefix, ~long),
        )
        spent = np.zeros(len(prompts))
        outputs = np.full(int(long.sum()), self._tokens, np.int64)
        spent[long] = seconds_alone(cost_alone(self._summarizer, config), prompts[long], outputs)
        return with_lead(short, spent)


def _only(table: PrefixTable, rows: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> PrefixTable:
    """Return the table with the segments of the chosen rows; the others have none."""
    counts = np.where(rows, np.diff(table.offsets), 0)
    chosen = np.repeat(rows, np.diff(table.offsets))
    return PrefixTable(np.concatenate(([0], np.cumsum(counts))), table.ids[chosen], table.end_tokens[chosen])
