"""One request's way through the cluster: what happened to it when, and where its time went."""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core.errors import InputError
from simulator.experiment.stored.folder import StoredRun

_REQUESTS, _ITERATIONS, _SPANS = "requests.parquet", "iterations.parquet", "spans.parquet"
_MOVES = "moves.parquet"
_ITERATION_COLUMNS = ["start_s", "first_iteration_s", "growth_s", "iterations", "decode_requests", "prefill_requests",
                      "prefill_tokens"]  # fmt: skip
Columns = dict[str, NDArray[Any]]


def slowest(run: StoredRun, count: int) -> list[dict[str, Any]]:
    """Return the completed requests with the longest end-to-end latency, longest first, with their times in ms."""
    rows = run.table(_REQUESTS).sort_by([("e2el_ms", "descending"), ("request", "ascending")])
    chosen = [row for row in rows.slice(0, count).to_pylist() if row["e2el_ms"] is not None]
    return [
        {
            **{name: row[name] for name in ("request", "instance", "prompt_tokens", "output_tokens", "preemptions")},
            **({"lead_ms": row["lead_s"] * 1e3} if "lead_s" in row else {}),
            "queue_ms": (row["admitted_s"] - row["arrival_s"] - _lead(row)) * 1e3,
            "prefill_ms": (row["first_token_s"] - row["admitted_s"]) * 1e3,
            "decode_ms": (row["finished_s"] - row["first_token_s"]) * 1e3,
            **{name: row[name] for name in ("ttft_ms", "tpot_ms", "e2el_ms")},
        }
        for row in chosen
    ]


def request_way(run: StoredRun, request: int) -> dict[str, Any]:
    """Return a request's facts, its events in order of time, and its latency by what it went into (``spent_ms``).

    InputError if the run has no such request.
    """
    from pyarrow import compute

    mine = compute.field("request") == request
    found = run.table(_REQUESTS, where=mine).to_pylist()
    if not found:
        raise InputError(f"run '{run.name}' has no request {request}", where=str(run.folder / _REQUESTS))
    facts = found[0]
    spans = run.table(_SPANS, where=mine).to_pylist() if (run.folder / _SPANS).exists() else []
    first = spans[0]["instance"] if spans else facts["instance"]  # another one may have gone on with it
    moves = run.table(_MOVES, where=mine).to_pylist() if (run.folder / _MOVES).exists() else []
    prefill = _prefill(run, facts, first)
    events = [_event(facts["arrival_s"], "arrives", f"{facts['prompt_tokens']} prompt tokens")]
    if lead := _lead(facts):
        waited = f"after {lead * 1e3:.1f} ms"
        events.append(_event(facts["arrival_s"] + lead, "reaches the cluster", waited))
    if facts["admitted_s"] is not None:
        cached = f", {facts['cached_tokens']} tokens cached" if facts["cached_tokens"] else ""
        events.append(_event(facts["admitted_s"], "admitted", f"instance {first}{cached}"))
    events += prefill
    if facts["first_token_s"] is not None:
        events.append(_event(facts["first_token_s"], "first token", ""))
    events += _moving(moves)
    events += _decoding(spans)
    events.sort(key=lambda event: event["at_s"])
    if facts["finished_s"] is not None:
        how = facts["reason"] or f"{facts['output_tokens']} output tokens, {facts['preemptions']} preemptions"
        events.append(_event(facts["finished_s"], facts["status"], how))
    return {"run": run.name, **facts, "spent_ms": _spent(run, facts, spans, moves), "events": events,
            "spans": spans, "moves": moves}  # fmt: skip


def _event(at_s: float, event: str, detail: str) -> dict[str, Any]:
    return {"at_s": at_s, "event": event, "detail": detail}


def _lead(facts: dict[str, Any]) -> float:
    """Return the seconds that a request spent on its way to the cluster."""
    return facts.get("lead_s") or 0.0


def _moving(moves: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events = []
    for move in moves:
        asked, took = (move["started_s"] - move["asked_s"]) * 1e3, (move["ended_s"] - move["started_s"]) * 1e3
        way = f"instance {move['source']} to {move['target']}, {move['bytes'] / 1e6:.1f} MB"
        events.append(_event(move["started_s"], f"KV {move['kind']} begins", f"{way}; asked for {asked:.1f} ms before"))
        stopped = f"after {took:.1f} ms; no token for {move['stopped_s'] * 1e3:.1f} ms of it all"
        events.append(_event(move["ended_s"], f"KV {move['kind']} ends", stopped))
    return events


def _decoding(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    events = []
    for index, span in enumerate(spans):
        if index:
            before = spans[index - 1]
            pause = (span["first_token_s"] - before["last_token_s"]) * 1e3
            moved = span["instance"] != before["instance"]
            what = f"goes on at instance {span['instance']}" if moved else "goes on"
            events.append(_event(span["first_token_s"], what, f"{pause:.1f} ms after the token before"))
        if span["tokens"] > 1:
            spent = span["last_token_s"] - span["first_token_s"]
            mean = spent / (span["tokens"] - 1) * 1e3
            detail = f"{span['tokens']} tokens in {spent * 1e3:.1f} ms, {mean:.2f} ms a token"
            events.append(_event(span["last_token_s"], "has decoded", detail))
    return events


def _prefill(run: StoredRun, facts: dict[str, Any], instance: int) -> list[dict[str, Any]]:
    """Return the iterations with prompt chunks that an instance ran from its admission to its first token.

    Whose chunks they were is not recorded; a prompt that fits the token budget has a single one.
    """
    if facts["first_token_s"] is None:
        return []
    rows = _iterations(run, instance, facts["admitted_s"], facts["first_token_s"])
    events = []
    for at, took, prompts, tokens, decodes in zip(
        rows["start_s"],
        rows["first_iteration_s"],
        rows["prefill_requests"],
        rows["prefill_tokens"],
        rows["decode_requests"],
        strict=True,
    ):
        if prompts:
            what = f"{took * 1e3:.1f} ms: {tokens} tokens of {prompts} prompts, {decodes} decoding"
            events.append(_event(float(at), "prefill iteration", what))
    return events


def _iterations(run: StoredRun, instance: int, begin_s: float, end_s: float) -> Columns:
    """Return an instance's stretches of iterations that begin in a span of time, by column."""
    from pyarrow import compute

    start = compute.field("start_s")
    within = (compute.field("instance") == instance) & (start >= begin_s) & (start < end_s)
    table = run.table(_ITERATIONS, _ITERATION_COLUMNS, where=within)
    return {name: table[name].to_numpy() for name in _ITERATION_COLUMNS}


def _spent(
    run: StoredRun, facts: dict[str, Any], spans: list[dict[str, Any]], moves: list[dict[str, Any]]
) -> dict[str, float]:
    """Return the milliseconds between arrival and end by what they went into; phases never reached are left out."""
    times = [facts[name] for name in ("arrival_s", "admitted_s", "first_token_s", "finished_s")]
    arrival, admitted, first, finished = times
    spent: dict[str, float] = {}
    if lead := _lead(facts):
        spent["lead"] = lead
    if admitted is not None:
        spent["queue"] = admitted - arrival - lead
        if first is not None:
            spent["prefill"] = first - admitted
    if spans and facts["status"] == "completed":
        shared = 0.0
        for span in spans:
            rows = _iterations(run, span["instance"], span["first_token_s"], span["last_token_s"])
            shared += float(np.sum(rows["first_iteration_s"][rows["prefill_requests"] > 0]))
        decode = sum(span["last_token_s"] - span["first_token_s"] for span in spans)
        paused = sum(after["first_token_s"] - before["last_token_s"] for before, after in pairwise(spans))
        spent |= {"decode": decode - shared, "decode_beside_prompts": shared}
        for kind in dict.fromkeys(move["kind"] for move in moves):
            spent[kind] = min(sum(move["stopped_s"] for move in moves if move["kind"] == kind), paused)
            paused -= spent[kind]
        spent["paused"] = paused
        spent["after_last_token"] = finished - spans[-1]["last_token_s"]
    return {name: seconds * 1e3 for name, seconds in spent.items()}
