"""A second model: on a GPU of its own before the cluster, or read on the cluster's GPUs before each prompt."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_S, InputError, Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.build import build_cost
from simulator.cost.parallelism import Parallelism
from simulator.cost.wrapped import WrappedCost
from simulator.experiment.schema import Experiment
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import load_profile
from simulator.model import Transformer, load_model


class _Alone(NamedTuple):
    """One sequence that decodes with no other."""

    longest: int


def cost_alone(model: str, config: Experiment) -> CostModel:
    """Return what iterations of a model cost on one GPU of the experiment's first kind, with its engine."""
    spec = config.cluster.instances[0]
    engine = load_engine(spec.engine.name)
    build = engine.build(spec.engine.version)
    host = build.host if spec.engine.server else build.in_process
    return build_cost(load_model(model), load_profile(spec.hardware), engine, build, host, Parallelism())


def seconds_alone(cost: CostModel, prompts: NDArray[np.int64], outputs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how long requests take each with nobody beside them; 0 outputs: their prompts are only read."""
    pairs, back = np.unique(np.stack([prompts, outputs], axis=1), axis=0, return_inverse=True)
    spent = [_picoseconds(cost, prompt, output) for prompt, output in pairs.tolist()]
    return np.asarray(np.array(spent, np.float64)[back.reshape(-1)] / PS_PER_S)


def _picoseconds(cost: CostModel, prompt: int, output: int) -> int:
    request = Request(0, 0, prompt, max(output, 1))
    spent = cost.mixed([(request, prompt)], prompt, 0, 0, _Alone(0))
    context, left = prompt + 1, output - 1
    while left > 0:
        first, growth, limit = cost.decode_run(1, context, _Alone(context))
        steps = min(limit, left)
        spent += steps * first + growth * (steps * (steps - 1) // 2)
        context, left = context + steps, left - steps
    return spent


class ReadBefore(WrappedCost):
    """Iterations in which a second model first reads what the chunks of prompts were made from.

    ``original`` tells how many tokens of the original text become so many of the prompt. What is found in the prefix
    cache is not read again, nor is what a preempted request computes again.
    """

    def __init__(self, cost: CostModel, reader: CostModel, original: Callable[[int], int], note: str) -> None:
        super().__init__(cost, note)
        self._reader = reader
        self._original = original

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the iteration's duration after that of the reading."""
        duration = super().mixed(chunks, tokens, requests, context, decodes)
        texts = []
        for request, new in chunks:
            before, after = self._original(request.computed), self._original(request.computed + new)
            if request.preemptions == 0 and after > before:
                text = Request(request.index, 0, after, 1)
                text.computed = before
                texts.append((text, after - before))
        if not texts:
            return duration
        return duration + self._reader.mixed(texts, sum(new for _, new in texts), 0, 0, _Alone(0))


def reader_model(name: str, model: Transformer) -> Transformer:
    """Return a reader's shape; InputError unless it is smaller than the model that is spared the reading."""
    reader = load_model(name)
    if reader.active_parameters >= model.active_parameters:
        raise InputError(
            f"{reader.name}, which reads prompts to shorten them, is no smaller than {model.name}",
            hint="name a smaller model (tokenyard models)",
        )
    return reader
