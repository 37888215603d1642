"""The requests that kept ML.ENERGY's engines full: lengths as far as its benchmark and the memory they filled tell."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma, lognorm

from simulator.core.streams import Streams
from simulator.workload.table import ClosedLoop, Int, Workload

Float = NDArray[np.float64]


class Lengths(NamedTuple):
    """What is known of a task's lengths: the mean prompt, and how prompts and outputs vary.

    ``prompt_sigma`` is that of a log-normal law, ``output_variation`` the standard deviation over the mean.
    """

    prompt_tokens: float
    prompt_sigma: float
    output_variation: float


# Only mean outputs are recorded. Where a KV cache was full, its tokens over the requests that ran at once are the mean
# context: with 95 % of an H100 for vLLM (the benchmark's flag), in chat 601 to 746 tokens with outputs of 351 to 413
# (Llama) and 903 to 1,049 with 645 and 628 (Qwen3), a prompt and about a whole mean output, as if outputs were
# exponential; in GPQA at most 5,224 with 8,052, in fill-in-the-middle 1,329 with 255. Each turn of a conversation is
# sent with all that came before, so prompts vary widely: with a sigma of 1.7 the 90th, 95th and 99th percentiles of 33
# runs of Llama 3, which are iterations with a prompt, come out 6, 12 and 17 % off and on average as measured; with one
# of 0.83 (as exponential ones vary) 12, 9 and 33 % off, the last 24 % too short.
CHAT = Lengths(250.0, 1.7, 1.0)
TASKS = {"lm-arena-chat": CHAT, "gpqa": Lengths(250.0, 0.5, 0.45), "sourcegraph-fim": Lengths(1000.0, 1.2, 1.0)}
_ROUNDS, _LONGEST = 6, 8192


@dataclass(frozen=True)
class SaturatedClient:
    """A closed loop of ``batch`` requests whose outputs are ``output_tokens`` on average."""

    batch: int
    output_tokens: float
    lengths: Lengths

    def workload(self, seed: int) -> Workload:
        """Return requests for six rounds of the batch, lengths evenly over their laws' quantiles."""
        streams, count = Streams(seed), _ROUNDS * self.batch
        by = self.lengths
        shape = 1 / by.output_variation**2
        prompts = lognorm(by.prompt_sigma, scale=by.prompt_tokens * np.exp(-(by.prompt_sigma**2) / 2))
        outputs = gamma(shape, scale=self.output_tokens / shape)
        return Workload(
            "full engine",
            f"closed loop of {self.batch}, seed {seed}",
            np.zeros(count, np.int64),
            _drawn(streams.get("prompt"), prompts.ppf, count),
            _drawn(streams.get("output"), outputs.ppf, count),
            closed_loop=ClosedLoop(self.batch, 0),
        )


def _drawn(rng: np.random.Generator, quantile: Callable[[Float], Float], count: int) -> Int:
    lengths = rng.permutation(quantile((np.arange(count) + 0.5) / count))
    return np.asarray(np.clip(np.rint(lengths), 1, _LONGEST), np.int64)
