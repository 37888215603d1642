"""Requests of a run as slices of a trace: waiting in a queue, prefill, decoding, and arrows between them."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.report.breakdown import LEAD
from simulator.report.results import Column, RunTables

Nanoseconds = NDArray[np.int64]
# Thread numbers inside an instance's process: lanes of waiting requests, and of running ones.
QUEUE_LANES, RUN_LANES = 1_000, 1_000_000
NOWHERE = 0  # process number of what reached no instance

_COLUMNS = ("completed", "request", "instance", "arrival_s", "admitted_s", "first_token_s", "finished_s",
            "prompt_tokens", "output_tokens", "cached_tokens", "preemptions")  # fmt: skip


@dataclass(frozen=True)
class Slice:
    """A phase of a request: on which instance (from 0) and when, in ns."""

    request: int
    phase: str
    instance: int
    start: int
    end: int
    row: int


@dataclass(frozen=True)
class Requests:
    """A run's requests by column, times in ns; what has not ended by the end of the run is cut there."""

    columns: dict[str, Column]
    times: dict[str, Nanoseconds]
    end: int
    spans: dict[int, list[tuple[int, int, int]]]  # by request: instance, first and last token of each stretch

    def facts(self, row: int) -> dict[str, int]:
        """Return what a slice of the request tells when it is clicked."""
        names = ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions")
        return {name: int(self.columns[name][row]) for name in names}

    def slices(self, start: int, end: int) -> list[Slice]:
        """Return every phase that lies in or overlaps a window of time, cut to it, request by request."""
        reached = np.flatnonzero((self.times["arrival"] < end) & (self.times["finished"] > start))
        found = []
        for row in reached[self.columns["instance"][reached] >= 0]:
            for phase, instance, first, last in self._phases(int(row)):
                if max(first, start) < min(last, end):
                    number = int(self.columns["request"][row])
                    found.append(Slice(number, phase, instance, max(first, start), min(last, end), int(row)))
        return found

    def failed(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """Yield (ns, instance or -1, request) of those that failed in a window of time."""
        at = self.times["finished"]
        known = ~np.isnan(self.columns["finished_s"]) & ~self.columns["completed"]
        for row in np.flatnonzero(known & (at >= start) & (at < end)):
            yield int(at[row]), int(self.columns["instance"][row]), int(self.columns["request"][row])

    def _phases(self, row: int) -> Iterator[tuple[str, int, int, int]]:
        instance = int(self.columns["instance"][row])
        arrival, admitted, first, finished = (
            int(self.times[name][row]) for name in ("arrival", "admitted", "first_token", "finished")
        )
        yield "queue", instance, arrival, min(admitted, finished)
        yield "prefill", instance, admitted, min(first, finished)
        at, spans = first, self.spans.get(int(self.columns["request"][row]), [])
        for where, begin, stop in spans:
            # Between two stretches of tokens a request was preempted or went to another instance.
            yield "paused" if where == instance else "transfer", where, at, begin
            yield "decode", where, begin, stop
            instance, at = where, stop
        yield "decode" if not spans else "paused", instance, at, finished


def read_requests(tables: RunTables, end: int) -> Requests:
    """Read a run's requests; ``end`` is when its last iteration ended, in ns."""
    led = LEAD in tables.request_columns()
    columns = tables.requests((*_COLUMNS, LEAD) if led else _COLUMNS)
    names = ("arrival", "admitted", "first_token", "finished")
    known = [nanoseconds(columns[f"{name}_s"]) for name in names]
    if led:
        known[0] = known[0] + nanoseconds(columns[LEAD])  # before that it was in nobody's queue
    end = max([end, *(int(times.max(initial=0)) for times in known)])
    times = {name: np.where(np.isnan(columns[f"{name}_s"]), end, each) for name, each in zip(names, known, strict=True)}
    return Requests(columns, times, end, _spans(tables))


def _spans(tables: RunTables) -> dict[int, list[tuple[int, int, int]]]:
    """Return the stretches of tokens of those requests that have several: the others decode without a pause."""
    found = tables.spans(("request", "instance", "first_token_s", "last_token_s"))
    if found is None:
        return {}
    again = np.flatnonzero(np.bincount(found["request"]) > 1)
    rows = np.flatnonzero(np.isin(found["request"], again))
    begin, stop = nanoseconds(found["first_token_s"]), nanoseconds(found["last_token_s"])
    spans: dict[int, list[tuple[int, int, int]]] = {}
    for row in rows[np.lexsort((begin[rows], found["request"][rows]))]:
        stretch = (int(found["instance"][row]), int(begin[row]), int(stop[row]))
        spans.setdefault(int(found["request"][row]), []).append(stretch)
    return spans


def nanoseconds(seconds: Column) -> Nanoseconds:
    """Return whole nanoseconds; unknown times become 0."""
    return np.rint(np.nan_to_num(seconds) * 1e9).astype(np.int64)


def lanes(slices: list[Slice]) -> list[int]:
    """Return a lane for each slice so that no two overlap in one: the lowest one that is free when it starts.

    Phases of one request that follow each other on one instance share a lane if they are given as one run of slices.
    """
    order = sorted(range(len(slices)), key=lambda i: slices[i].start)
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    found = [0] * len(slices)
    count = 0
    for i in order:
        while busy and busy[0][0] <= slices[i].start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            free.append(count)
            count += 1
        found[i] = heapq.heappop(free)
        heapq.heappush(busy, (slices[i].end, found[i]))
    return found
