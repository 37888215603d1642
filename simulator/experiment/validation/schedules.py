"""Replay recorded decisions of a real engine's scheduler and compare them step by step.

A case is a JSON file (gzip or plain) with ``engine`` limits, ``requests`` and the ``steps`` a real vLLM took:
who ran with how many tokens, who was preempted, how many prompt tokens the prefix cache held.
"""

import gzip
import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, ValidationError

from simulator.core import InputError, Request, Segment
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.scheduling.vllm import VLLM

Step = dict[str, Any]
_DECISIONS = ("scheduled", "preempted", "cached_tokens")


class Limits(BaseModel):
    """The engine of a recording; one of ``num_gpu_blocks`` is vLLM's null block."""

    max_num_seqs: PositiveInt
    max_num_batched_tokens: PositiveInt
    num_gpu_blocks: PositiveInt
    block_size: PositiveInt
    enable_prefix_caching: bool
    scheduling_policy: Literal["fcfs", "priority"]
    max_model_len: PositiveInt
    # The simulated scheduler has no such limit; 0 is none.
    long_prefill_token_threshold: NonNegativeInt = 0


class Asked(BaseModel):
    """A request of a recording; prompts of one ``prefix_id`` begin with the same ``prefix_tokens``."""

    arrival_step: NonNegativeInt
    prompt_tokens: PositiveInt
    output_tokens: PositiveInt
    priority: int = 0
    prefix_id: int = -1
    prefix_tokens: NonNegativeInt = 0


class Recording(BaseModel):
    """A recorded workload and what the engine's scheduler decided, step by step."""

    model_config = ConfigDict(extra="ignore")

    engine: Limits
    requests: list[Asked]
    steps: list[Step] = Field(repr=False)


class CaseResult(NamedTuple):
    """How far a case agreed: ``steps`` of the recording, the first one that differs (None: identical), and how."""

    case: str
    steps: int
    first_difference: int | None
    detail: str


def validate_folder(folder: Path) -> dict[str, Any]:
    """Compare all ``*.json`` and ``*.json.gz`` cases of a folder.

    Returns ``overall`` (points, identical, agreement as a fraction, steps), one entry a case in ``groups``, and in
    ``not_covered`` the cases that cannot be read or replayed, with the reason; InputError when there is no other.
    """
    files = sorted([*folder.glob("*.json"), *folder.glob("*.json.gz")])
    if not files:
        raise InputError("no recorded schedules (*.json, *.json.gz) here", where=str(folder))
    results, missed = [], []
    for file in files:
        try:
            results.append(_compare(file))
        except InputError as problem:
            missed.append((file, problem))
    if not results:
        raise missed[0][1]
    identical = sum(result.first_difference is None for result in results)
    return {
        "overall": {
            "points": len(results),
            "identical": identical,
            "agreement": identical / len(results),
            "steps": sum(result.steps for result in results),
            "not_covered": len(missed),
        },
        "groups": [result._asdict() for result in results],
        "not_covered": [{"where": str(file), "reason": problem.message} for file, problem in missed],
    }


def _compare(file: Path) -> CaseResult:
    recording = _read(file)
    if threshold := recording.engine.long_prefill_token_threshold:
        raise InputError(f"long_prefill_token_threshold {threshold} is not modelled", where=str(file))
    expected = recording.steps
    ours = replay(recording, len(expected))
    for number, (theirs, mine) in enumerate(zip(expected, ours, strict=False)):
        # A step without preemptions may say so, and may hold more than is compared.
        key = next((key for key in _DECISIONS if (theirs.get(key) or []) != mine.get(key, [])), None)
        if key is not None:
            detail = f"{key}: {theirs.get(key)} recorded, {mine.get(key)} ours"
            return CaseResult(file.name, len(expected), number, detail)
    if len(ours) != len(expected):
        short = min(len(ours), len(expected))
        return CaseResult(file.name, len(expected), short, f"{len(expected)} steps recorded, {len(ours)} ours")
    return CaseResult(file.name, len(expected), None, "")


def _read(file: Path) -> Recording:
    try:
        raw = file.read_bytes()
        return Recording.model_validate(json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise InputError(f"not a recording: {key}: {first['msg'].lower()}", where=str(file)) from None
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read this recording: {error}", where=str(file)) from None


def replay(recording: Recording, most_steps: int) -> list[Step]:
    """Run a recorded workload through our scheduler, one step at a time, and return the steps in the recording's form.

    A step is an iteration; requests that have all prompt tokens computed make one token in it.
    """
    requests = [_request(index, asked) for index, asked in enumerate(recording.requests)]
    pending = sorted(requests, key=lambda request: (request.arrival, request.index), reverse=True)
    core = _engine(recording.engine)
    scheduler = core.scheduler
    assert isinstance(scheduler, VLLM)
    left, steps = len(requests), []
    for step in range(most_steps):
        if not left:
            break
        while pending and pending[-1].arrival <= step:
            scheduler.add(pending.pop())
        before = {request: request.preemptions for request in scheduler.running}
        already = set(scheduler.running)
        plan = scheduler.plan()
        core.admit(plan.chunks, step)
        given = {request.index: tokens for request, tokens in plan.chunks}
        given |= {request.index: 1 for request in core.decodes}
        row: Step = {
            "step": step,
            "scheduled": [[r.index, given[r.index]] for r in scheduler.running if r.index in given],
        }
        if preempted := sorted(request.index for request, count in before.items() if request.preemptions > count):
            row["preempted"] = preempted
        admitted = (request for request, _ in plan.chunks if request not in already and request.computed)
        if cached := sorted([request.index, request.computed] for request in admitted):
            row["cached_tokens"] = cached
        steps.append(row)
        left -= len(core.complete(plan.chunks, step + 1))
    # vLLM runs one more, empty step to report what finished in the last one.
    steps.append({"step": len(steps), "scheduled": []})
    return steps


def _engine(limits: Limits) -> EngineCore:
    scheduler = VLLM(
        max_num_seqs=limits.max_num_seqs,
        max_num_batched_tokens=limits.max_num_batched_tokens,
        policy=limits.scheduling_policy,
    )
    blocks = limits.num_gpu_blocks - 1
    kv: KVPool
    if limits.enable_prefix_caching:
        kv = PrefixPool(blocks, limits.block_size)
    else:
        kv = CountingPool(blocks, limits.block_size, reuse=False)
    return EngineCore(kv, scheduler, Ledger(), limits.max_model_len)


def _request(index: int, asked: Asked) -> Request:
    prompt, shared, group = asked.prompt_tokens, asked.prefix_tokens, asked.prefix_id
    # The recorder samples the same token for everybody: two prompts that are the same shared text go on alike.
    output_id = 1_000_000 * (group + 1) + prompt if shared and shared == prompt else None
    return Request(
        index,
        asked.arrival_step,
        prompt,
        asked.output_tokens,
        priority=asked.priority,
        segments=(Segment(group, shared),) if shared else (),
        output_id=output_id,
    )
