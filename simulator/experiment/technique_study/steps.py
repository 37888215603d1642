"""How much faster single iterations are with a technique: a prompt, and decodes of one token by batch size."""

from pathlib import Path
from typing import NamedTuple

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.experiment.assemble import assemble
from simulator.experiment.load import load_experiment
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.experiment.techniques.stack import workload_of

BATCHES = (1, 4, 16, 64, 256, 1024)
SHORT, LONG = 128, 2048  # KV tokens that each decode reads: weights decide, or attention does
PROMPT = 2048


class _Even(NamedTuple):
    """Requests that all read ``longest`` KV tokens."""

    longest: int


class DecodeGains(NamedTuple):
    """How many times faster decodes of each of ``BATCHES`` requests are.

    ``none_from``: the batch from which on, up to the last of ``BATCHES``, none are faster than without; None if those
    of the last are.
    """

    by_batch: tuple[float, ...]
    none_from: int | None


class StepGains(NamedTuple):
    """How many times faster a prompt of ``PROMPT`` tokens is, and decodes over ``SHORT`` and ``LONG`` contexts."""

    prompt: float
    short: DecodeGains
    long: DecodeGains


def step_gains(path: Path) -> dict[str, StepGains]:
    """Return gains by variant of an experiment, over its first.

    There are none for clusters of more than one kind of instance, nor for techniques that change what prompts are.
    With speculative decoding it is the time of a token, not of a step.
    """
    loaded = load_experiment(path)
    costs: dict[str, CostModel] = {}
    for run in loaded.runs:
        if run.variant in costs:
            continue
        cost = _cost(run.config, loaded.folder)
        if cost is None:
            return {}
        costs[run.variant] = cost
    base = next(iter(costs.values()))
    same = {
        run.variant for run in loaded.runs if not any(_changes_requests(each.name) for each in run.config.techniques)
    }
    return {name: _gains(base, cost) for name, cost in list(costs.items())[1:] if name in same}


def token_ps(cost: CostModel, batch: int, context: int) -> int:
    """Return ps of an iteration in which a batch decodes over so many KV tokens each."""
    return cost.decode_run(batch, batch * context, _Even(context))[0]


def prompt_ps(cost: CostModel, tokens: int = PROMPT) -> int:
    """Return ps of an iteration that computes one prompt."""
    return cost.mixed([(Request(0, 0, tokens, 1), tokens)], tokens, 0, 0, _Even(0))


def _cost(config: Experiment, folder: Path) -> CostModel | None:
    costs = assemble(config, workload_of(config, folder)).costs
    return costs[0] if len(costs) == 1 else None


def _changes_requests(technique: str) -> bool:
    return TECHNIQUES.get(technique).level == "data"


def _gains(base: CostModel, cost: CostModel) -> StepGains:
    prompt = prompt_ps(base) / prompt_ps(cost)
    return StepGains(prompt, _decode_gains(base, cost, SHORT), _decode_gains(base, cost, LONG))


def _decode_gains(base: CostModel, cost: CostModel, context: int) -> DecodeGains:
    def gain(batch: int) -> float:
        return token_ps(base, batch, context) / token_ps(cost, batch, context)

    none_from = None
    for batch in range(BATCHES[-1], 0, -1):
        if gain(batch) > 1:
            break
        none_from = batch
    return DecodeGains(tuple(gain(batch) for batch in BATCHES), none_from)
