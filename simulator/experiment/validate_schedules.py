"""Replay recorded decisions of a real engine's scheduler and compare them step by step.

A case is a JSON file (gzip or plain) with ``engine`` limits, ``requests`` and the ``steps`` a real vLLM took:
who ran with how many tokens, who was preempted, how many prompt tokens the prefix cache held.
"""

import gzip
import json
from pathlib import Path
from typing import Any, NamedTuple

from simulator.core import InputError, Request, Segment
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.scheduling.vllm import VLLM

Step = dict[str, Any]


class CaseResult(NamedTuple):
    """How far a case agreed: ``steps`` of the recording, the first one that differs (None: identical), and how."""

    case: str
    steps: int
    first_difference: int | None
    detail: str


def validate_folder(folder: Path) -> dict[str, Any]:
    """Compare all ``*.json`` and ``*.json.gz`` cases of a folder.

    Returns ``overall`` (points, identical, agreement as a fraction, steps) and one entry a case in ``groups``;
    InputError when the folder has none or a case cannot be read.
    """
    files = sorted([*folder.glob("*.json"), *folder.glob("*.json.gz")])
    if not files:
        raise InputError("no recorded schedules (*.json, *.json.gz) here", where=str(folder))
    results = [_compare(file) for file in files]
    identical = sum(result.first_difference is None for result in results)
    return {
        "overall": {
            "points": len(results),
            "identical": identical,
            "agreement": identical / len(results),
            "steps": sum(result.steps for result in results),
        },
        "groups": [result._asdict() for result in results],
    }


def _compare(file: Path) -> CaseResult:
    case = _read(file)
    expected = case["steps"]
    ours = replay(case, len(expected))
    for number, (theirs, mine) in enumerate(zip(expected, ours, strict=False)):
        if theirs != mine:
            key = next(key for key in ("scheduled", "preempted", "cached_tokens") if theirs.get(key) != mine.get(key))
            detail = f"{key}: {theirs.get(key)} recorded, {mine.get(key)} ours"
            return CaseResult(file.name, len(expected), number, detail)
    if len(ours) != len(expected):
        short = min(len(ours), len(expected))
        return CaseResult(file.name, len(expected), short, f"{len(expected)} steps recorded, {len(ours)} ours")
    return CaseResult(file.name, len(expected), None, "")


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = file.read_bytes()
        case: dict[str, Any] = json.loads(gzip.decompress(raw) if file.suffix == ".gz" else raw)
        for key in ("engine", "requests", "steps"):
            if key not in case:
                raise InputError(f"no '{key}' in this recording", where=str(file))
        return case
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"cannot read this recording: {error}", where=str(file)) from None


def replay(case: dict[str, Any], most_steps: int) -> list[Step]:
    """Run a case through our scheduler, one step at a time, and return the steps in the recording's form.

    A step is an iteration; requests that have all prompt tokens computed make one token in it.
    """
    limits = case["engine"]
    requests = [_request(index, row) for index, row in enumerate(case["requests"])]
    pending = sorted(requests, key=lambda request: (request.arrival, request.index), reverse=True)
    core = _engine(limits)
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


def _engine(limits: dict[str, Any]) -> EngineCore:
    scheduler = VLLM(
        max_num_seqs=limits["max_num_seqs"],
        max_num_batched_tokens=limits["max_num_batched_tokens"],
        policy=limits["scheduling_policy"],
    )
    blocks = limits["num_gpu_blocks"] - 1  # one is vLLM's null block
    kv: KVPool
    if limits["enable_prefix_caching"]:
        kv = PrefixPool(blocks, limits["block_size"])
    else:
        kv = CountingPool(blocks, limits["block_size"], reuse=False)
    return EngineCore(kv, scheduler, Ledger(), limits["max_model_len"])


def _request(index: int, row: dict[str, Any]) -> Request:
    prompt, shared, group = row["prompt_tokens"], row.get("prefix_tokens", 0), row.get("prefix_id", -1)
    # The recorder samples the same token for everybody: two prompts that are the same shared text go on alike.
    output_id = 1_000_000 * (group + 1) + prompt if shared and shared == prompt else None
    return Request(
        index,
        row["arrival_step"],
        prompt,
        row["output_tokens"],
        priority=row.get("priority", 0),
        segments=(Segment(group, shared),) if shared else (),
        output_id=output_id,
    )
