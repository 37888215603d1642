"""ExeGPT's search: the schedule with most throughput whose requests keep a latency bound, by branch and bound.

Source: Oh et al., ExeGPT: Constraint-Aware Resource Scheduling for LLM Inference, ASPLOS 2024. Throughput and latency
are those of the steady state, given how long prompts and outputs are on average and how the longest outputs are; each
alone, and both with every knob, rise where the knob turns to more work at once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from heapq import heappop, heappush
from math import ceil, inf
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.core.units import PS_PER_S
from simulator.cost.base import CostModel


@dataclass(frozen=True)
class LengthStatistics:
    """What a search knows of lengths: means, the KV tokens of a request averaged over its decodes, the long outputs.

    ``long``: the 99th percentile of outputs. ``longest``: that of all. ``prompt_long``: the longest prompt.
    """

    prompt: float
    output: float
    context: float
    long: int
    longest: int
    prompt_long: int

    @classmethod
    def of(cls, prompt: NDArray[np.int64], output: NDArray[np.int64]) -> "LengthStatistics":
        """Return the statistics of requests."""
        made = np.maximum(output - 1, 1)
        # Decode n of a request reads its prompt and n tokens.
        context = (made * (prompt + (made + 1) / 2)).sum() / made.sum()
        return cls(
            float(prompt.mean()),
            float(output.mean()),
            float(context),
            int(np.percentile(output, 99)),
            int(output.max()),
            int(prompt.max()),
        )


@dataclass(frozen=True)
class Group:
    """A kind of instance: its GPUs, what its iterations cost, and the KV tokens that it holds."""

    gpus: int
    cost: CostModel
    kv_tokens: int

    def encode_s(self, batch: int, prompt: float) -> float:
        """Return how long a batch of prompts takes alone."""
        return _encode_ps(self.cost, batch, max(round(prompt), 1)) / PS_PER_S

    def decode_s(self, batch: float, context: float) -> float:
        """Return how long an iteration takes with so many requests (1 or more) of so many KV tokens each."""
        low = max(int(batch), 1)
        times = [
            self.cost.decode_run(size, round(size * context), _Longest(round(context)))[0] for size in (low, low + 1)
        ]
        return (times[0] + max(batch - low, 0.0) * (times[1] - times[0])) / PS_PER_S


class _Longest(NamedTuple):
    longest: int


@lru_cache(maxsize=4096)
def _encode_ps(cost: CostModel, batch: int, tokens: int) -> int:
    # A search asks for the same few batches again and again, and each costs a walk over its prompts.
    return cost.mixed([(Request(0, 0, tokens, 1), tokens)] * batch, batch * tokens, 0, 0, _Longest(0))


class Estimate(NamedTuple):
    """Requests a second of all GPUs, and seconds from a long request's first iteration to its last."""

    throughput: float
    latency: float


class Schedule(NamedTuple):
    """A schedule and what it should give. ``encoders`` of the ``instances`` only encode (0: all do both, in turns).

    ``batch``: requests that decode together on an instance. ``iterations``: between two encodes; 0: no such thing.
    """

    group: Group
    instances: int
    encoders: int
    encode_batch: int
    batch: int
    iterations: int
    expected: Estimate


def round_robin(group: Group, instances: int, lengths: LengthStatistics, encode: int, iterations: int) -> Estimate:
    """Return the steady state of round-robin allocation: in each turn as many requests end as begin.

    Latency is infinite where memory is not enough for those that decode.
    """
    batch = decoding(lengths, encode, iterations)
    encoding, decode = group.encode_s(encode, lengths.prompt), group.decode_s(batch, lengths.context)
    turns = ceil(max(lengths.long - 1, 1) / iterations)
    latency = turns * encoding + (lengths.long - 1) * decode
    fits = (batch + encode) * lengths.context * _SPREAD <= group.kv_tokens
    return Estimate(instances * encode / (encoding + iterations * decode), latency if fits else inf)


def decoding(lengths: LengthStatistics, encode: int, iterations: int) -> float:
    """Return how many requests decode on average if so many begin every so many iterations."""
    return encode * max(lengths.output - 1, 1) / iterations


def workload_aware(
    group: Group, encoders: int, decoders: int, lengths: LengthStatistics, encode: int, batch: int
) -> Estimate:
    """Return the steady state of workload-aware allocation: the slower of encoding and decoding sets the pace."""
    fits = max(batch * lengths.context * _SPREAD, encode * lengths.prompt) <= group.kv_tokens
    encoding, decode = group.encode_s(encode, lengths.prompt), group.decode_s(batch, lengths.context)
    pace = min(encoders * encode / encoding, decoders * batch / (max(lengths.output - 1, 1) * decode))
    return Estimate(pace, encoding + (lengths.long - 1) * decode if fits else inf)


def request_level(group: Group, instances: int, lengths: LengthStatistics, batch: int) -> Estimate:
    """Return what batches give of which all requests are answered with the last, memory set aside for the longest."""
    if batch * (lengths.prompt_long + lengths.longest) > group.kv_tokens:
        return Estimate(0.0, inf)
    # A decode reads a prompt and half of the longest output on average.
    decode = group.decode_s(batch, lengths.prompt + lengths.long / 2)
    latency = group.encode_s(batch, lengths.prompt) + (lengths.long - 1) * decode
    return Estimate(instances * batch / latency, latency)


def branch_and_bound(
    estimate: Callable[[int, int], Estimate], most: tuple[int, int], bound: float
) -> tuple[int, int] | None:
    """Return the knobs, each from 1 to its most, with most throughput of those with a latency within the bound.

    Throughput and latency must rise with both knobs: then no setting in a box between two corners has more throughput
    than the upper one, and none is in time if the lower one is not. None: there is none.
    """
    best: tuple[float, tuple[int, int]] | None = None

    def in_time(found: Estimate) -> bool:
        return found.latency <= bound and found.latency < inf

    def at(knobs: tuple[int, int]) -> Estimate:
        nonlocal best
        found = estimate(*knobs)
        if in_time(found) and (best is None or found.throughput > best[0]):
            best = found.throughput, knobs
        return found

    boxes: list[tuple[float, tuple[int, int], tuple[int, int]]] = []

    def look(low: tuple[int, int], high: tuple[int, int]) -> None:
        """Try a box's corners; keep the box if a setting between them may be better."""
        lower, upper = at(low), at(high)
        if in_time(lower) and not in_time(upper):
            heappush(boxes, (-upper.throughput, low, high))

    look((1, 1), most)
    while boxes:
        limit, low, high = heappop(boxes)
        if best is not None and -limit <= best[0]:
            break
        cut = 0 if high[0] - low[0] >= high[1] - low[1] else 1
        middle = (low[cut] + high[cut]) // 2
        below = (middle, high[1]) if cut == 0 else (high[0], middle)
        above = (middle + 1, low[1]) if cut == 0 else (low[0], middle + 1)
        look(low, below)
        look(above, high)
    return None if best is None else best[1]


def search(groups: Iterable[Group], gpus: int, lengths: LengthStatistics, bound: float) -> Schedule | None:
    """Return the best schedule of either kind for so many GPUs and a bound in seconds; None if none keeps it."""
    found: list[Schedule] = []
    for group in groups:
        instances = gpus // group.gpus
        if not instances:
            continue
        most_decode = max(int(group.kv_tokens / (lengths.context * _SPREAD)), 1)
        found += _round_robin(group, instances, lengths, most_decode, bound)
        for encoders in range(1, instances):
            found += _workload_aware(group, encoders, instances - encoders, lengths, most_decode, bound)
    return max(found, key=lambda schedule: schedule.expected.throughput, default=None)


def _round_robin(
    group: Group, instances: int, lengths: LengthStatistics, most_decode: int, bound: float
) -> list[Schedule]:
    most = lengths.longest

    def estimate(encode: int, turn: int) -> Estimate:
        return round_robin(group, instances, lengths, encode, most + 1 - turn)

    knobs = branch_and_bound(estimate, (min(most_decode, _MOST_PROMPTS), most), bound)
    if knobs is None:
        return []
    encode, iterations = knobs[0], most + 1 - knobs[1]
    # Room for more than the average, so that a batch is not cut short by chance.
    batch = ceil(decoding(lengths, encode, iterations) * _SPREAD) + encode
    return [Schedule(group, instances, 0, encode, batch, iterations, estimate(*knobs))]


def _workload_aware(
    group: Group, encoders: int, decoders: int, lengths: LengthStatistics, most_decode: int, bound: float
) -> list[Schedule]:
    def estimate(encode: int, batch: int) -> Estimate:
        return workload_aware(group, encoders, decoders, lengths, encode, batch)

    knobs = branch_and_bound(estimate, (min(most_decode, _MOST_PROMPTS), most_decode), bound)
    if knobs is None:
        return []
    return [Schedule(group, encoders + decoders, encoders, *knobs, 0, estimate(*knobs))]


_SPREAD = 1.1  # by how much the requests that decode at one time exceed their average now and then
_MOST_PROMPTS = 128
