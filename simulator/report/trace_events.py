"""A run as Chrome trace events, which Perfetto and chrome://tracing open.

Format: "Trace Event Format", Google, 2016 (the document that Perfetto's importer follows): ``X`` is a slice, ``C`` a
counter, ``M`` names something, ``i`` is a moment, ``s``, ``t`` and ``f`` are begin, step and end of an arrow.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.report.results import Column, RunTables
from simulator.report.trace_requests import (
    NOWHERE,
    QUEUE_LANES,
    RUN_LANES,
    Nanoseconds,
    Requests,
    Slice,
    lanes,
    nanoseconds,
    read_requests,
)

MOST_EVENTS = 3_000_000
# Up to so many iterations in the window, each gets a slice of its own inside its stretch.
MOST_ITERATIONS = 20_000
ITERATIONS = 1  # the thread of an instance's process that shows what it runs
_COUNTS = ("iterations", "decode_requests", "prefill_requests", "prefill_tokens", "context_tokens", "waiting",
           "kv_blocks_used", "preemptions")  # fmt: skip
# At one moment: names, then slices (the longer first, so that it holds the shorter), then what points at them.
_NAME, _COUNTER, _SLICE, _POINT = range(4)


@dataclass(frozen=True)
class Event:
    """An event and its place in the file: time in ns, rank at that time, and minus its length."""

    at: int
    rank: int
    shortness: int
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class _Stretches:
    """What instances ran in a window of time: one entry a stretch of iterations of an unchanged batch, cut to it."""

    rows: Mapping[str, Column]
    start: Nanoseconds
    end: Nanoseconds
    instance: Column


def events_of(tables: RunTables, start: int = 0, end: int | None = None) -> list[Event]:
    """Return the events of a run between two moments (ns), in the order of the file.

    Raises ``InputError`` where nothing happens in between, or more than ``MOST_EVENTS``.
    """
    rows = tables.iterations(("instance", "start_s", "first_iteration_s", "growth_s", *_COUNTS))
    begin, stop = _bounds(rows)
    requests = read_requests(tables, int(stop.max(initial=0)))
    last = requests.end + 1 if end is None else end
    inside = np.flatnonzero((begin < last) & (stop > start))
    present = int(np.count_nonzero((requests.times["arrival"] < last) & (requests.times["finished"] > start)))
    # A stretch has a slice and up to three counters, a request three slices and as many ends of arrows.
    if len(inside) * 4 + present * 6 > MOST_EVENTS:
        raise InputError("too much for one time line", hint="choose a window with --from and --to")
    stretches = _Stretches(
        {name: values[inside] for name, values in rows.items()},
        np.maximum(begin[inside], start),
        np.minimum(stop[inside], last),
        rows["instance"][inside],
    )
    slices = requests.slices(start, last)
    events = [*_iterations(stretches, begin[inside], start, last), *_counters(stretches)]
    events += [*_request_slices(slices, requests), *_failures(requests, start, last)]
    if not events:
        raise InputError(f"nothing happens in this window; the run ends at {requests.end / 1e9:g} s")
    events += _names(events, tables)
    return sorted(events, key=lambda event: (event.at, event.rank, event.shortness))


def _bounds(rows: Mapping[str, Column]) -> tuple[Nanoseconds, Nanoseconds]:
    """Return begin and end of every stretch; no stretch reaches into the next one of its instance."""
    n = rows["iterations"].astype(np.float64)
    begin = nanoseconds(rows["start_s"])
    stop = nanoseconds(rows["start_s"] + n * rows["first_iteration_s"] + rows["growth_s"] * n * (n - 1) / 2)
    order = np.lexsort((begin, rows["instance"]))
    same = rows["instance"][order][1:] == rows["instance"][order][:-1]
    following = np.append(np.where(same, begin[order][1:], np.iinfo(np.int64).max), np.iinfo(np.int64).max)
    stop[order] = np.minimum(stop[order], following[: len(order)])
    return begin, stop


def _slice(name: str, process: int, thread: int, start: int, end: int, args: Mapping[str, Any] | None = None) -> Event:
    fields = {"ph": "X", "name": name, "pid": process, "tid": thread, "ts": start / 1000, "dur": (end - start) / 1000}
    return Event(start, _SLICE, start - end, {**fields, "args": args} if args else fields)


def _iterations(found: _Stretches, begun: Nanoseconds, start: int, end: int) -> Iterator[Event]:
    split = int(found.rows["iterations"].sum()) <= MOST_ITERATIONS
    for i in range(len(found.start)):
        facts = {name: int(found.rows[name][i]) for name in _COUNTS}
        first, growth, count = found.rows["first_iteration_s"][i], found.rows["growth_s"][i], facts["iterations"]
        prefill, decode = facts["prefill_requests"] > 0, facts["decode_requests"] > 0
        name = " + ".join(part for part, runs in (("prefill", prefill), ("decode", decode)) if runs) or "empty"
        args: dict[str, Any] = {key: value for key, value in facts.items() if value}
        args["first_iteration_ms"] = float(f"{first * 1000:.6g}")
        if count > 1:
            args["last_iteration_ms"] = float(f"{(first + growth * (count - 1)) * 1000:.6g}")
        process = int(found.instance[i]) + 1
        if found.end[i] <= found.start[i]:
            continue
        yield _slice(name, process, ITERATIONS, int(found.start[i]), int(found.end[i]), args)
        if split and count > 1:
            done = np.arange(count + 1)
            edges = int(begun[i]) + np.rint((done * first + growth * done * (done - 1) / 2) * 1e9).astype(np.int64)
            edges = np.clip(edges, int(found.start[i]), int(found.end[i]))
            for number in np.flatnonzero(np.diff(edges) > 0):
                yield _slice("iteration", process, ITERATIONS, int(edges[number]), int(edges[number + 1]))


def _counters(found: _Stretches) -> Iterator[Event]:
    """Yield the counters of every instance at each change; between stretches nothing runs and nobody waits."""
    order = np.lexsort((found.start, found.instance))
    shown: dict[tuple[int, str], dict[str, int]] = {}

    def at(time: int, process: int, values: Mapping[str, dict[str, int]]) -> Iterator[Event]:
        for name, args in values.items():
            if shown.get((process, name)) != args:
                shown[process, name] = args
                fields = {"ph": "C", "name": name, "pid": process, "tid": 0, "ts": time / 1000, "args": args}
                yield Event(time, _COUNTER, 0, fields)

    for place, i in enumerate(order):
        process = int(found.instance[i]) + 1
        row = {name: int(found.rows[name][i]) for name in _COUNTS}
        yield from at(int(found.start[i]), process, _levels(row))
        following = order[place + 1] if place + 1 < len(order) else None
        alone = following is None or found.instance[following] != found.instance[i]
        if following is None or alone or found.start[following] > found.end[i]:
            yield from at(int(found.end[i]), process, _levels(dict.fromkeys(_COUNTS, 0)))


def _levels(row: Mapping[str, int]) -> dict[str, dict[str, int]]:
    return {
        "KV blocks in use": {"blocks": row["kv_blocks_used"]},
        "queue length": {"requests": row["waiting"]},
        "running requests": {"decode": row["decode_requests"], "prefill": row["prefill_requests"]},
    }


def _request_slices(slices: list[Slice], requests: Requests) -> Iterator[Event]:
    """Yield the phases of requests in lanes, and arrows from each phase of a request to its next one."""
    places = _places(slices)
    of_request: dict[int, list[int]] = defaultdict(list)
    for i, each in enumerate(slices):
        yield _slice(f"{each.phase} #{each.request}", *places[i], each.start, each.end, requests.facts(each.row))
        of_request[each.row].append(i)
    for row, members in of_request.items():
        for step, i in enumerate(members if len(members) > 1 else ()):
            kind = "s" if step == 0 else "f" if step == len(members) - 1 else "t"
            process, thread = places[i]
            at = slices[i].start
            fields = {"ph": kind, "name": "request", "cat": "request", "id": int(requests.columns["request"][row]),
                      "pid": process, "tid": thread, "ts": at / 1000}  # fmt: skip
            # "e": the arrow ends at the slice it lies in, not at the next one.
            yield Event(at, _POINT, 0, {**fields, "bp": "e"} if kind == "f" else fields)


def _places(slices: list[Slice]) -> list[tuple[int, int]]:
    """Return process and thread of every slice: what runs on after each other on one instance stays in one lane."""
    runs: dict[tuple[int, bool], list[list[int]]] = defaultdict(list)
    for i, each in enumerate(slices):
        together = runs[each.instance, each.phase == "queue"]
        before = slices[together[-1][-1]] if together else None
        if before is not None and before.row == each.row and before.end == each.start:
            together[-1].append(i)
        else:
            together.append([i])
    places = [(0, 0)] * len(slices)
    for (instance, waits), groups in runs.items():
        whole = [
            Slice(slices[g[0]].request, "", instance, slices[g[0]].start, slices[g[-1]].end, slices[g[0]].row)
            for g in groups
        ]
        for group, lane in zip(groups, lanes(whole), strict=True):
            for i in group:
                places[i] = (instance + 1, (QUEUE_LANES if waits else RUN_LANES) + lane)
    return places


def _failures(requests: Requests, start: int, end: int) -> Iterator[Event]:
    for at, instance, request in requests.failed(start, end):
        process = NOWHERE if instance < 0 else instance + 1
        fields = {"ph": "i", "s": "p", "name": f"failed #{request}", "pid": process, "tid": 0, "ts": at / 1000}
        yield Event(at, _POINT, 0, fields)


def _names(events: list[Event], tables: RunTables) -> list[Event]:
    """Return what names processes and threads and puts them in order."""
    used = sorted({(event.fields["pid"], event.fields["tid"]) for event in events})
    found: list[Event] = []

    def say(kind: str, process: int, thread: int, **args: Any) -> None:
        found.append(Event(-1, _NAME, 0, {"ph": "M", "name": kind, "pid": process, "tid": thread, "args": args}))

    for process in sorted({process for process, _ in used}):
        name = "reached no instance" if process == NOWHERE else f"{tables.run.name}: instance {process - 1}"
        say("process_name", process, 0, name=name)
        say("process_sort_index", process, 0, sort_index=process)
    for process, thread in used:
        if thread:
            say("thread_name", process, thread, name=_thread(thread))
            say("thread_sort_index", process, thread, sort_index=thread)
    return found


def _thread(number: int) -> str:
    if number == ITERATIONS:
        return "iterations"
    return f"running {number - RUN_LANES}" if number >= RUN_LANES else f"queue {number - QUEUE_LANES}"
