"""A generator with a trace's figures: requests over time, burstiness, joint lengths, conversations."""

import math
from dataclasses import replace

import numpy as np

from simulator.core.errors import InputError
from simulator.core.streams import Streams
from simulator.core.units import PS_PER_S
from simulator.workload.describe import shared_tokens
from simulator.workload.generators.arrivals import Counts
from simulator.workload.generators.joint import JointLengths, make_histogram
from simulator.workload.generators.prefixes import ConversationPrefix
from simulator.workload.generators.rates import Float
from simulator.workload.spec import WorkloadSpec
from simulator.workload.table import Int, PrefixTable, Workload

_INTERVALS = (60, 30, 20, 10, 5, 2, 1)  # seconds
_SMOOTH = 1.5  # gaps that vary less than this look like independent arrivals
_FINEST, _COARSEST = 24, 1  # histogram cells an octave
_MOST_TEXT = 30_000  # bytes of histogram: a spec should stay readable in a diff


def fit(workload: Workload) -> WorkloadSpec:
    """Return a spec whose requests have a trace's rate over time, burstiness, lengths and prefix reuse."""
    if len(workload) < 2 or workload.closed_loop is not None or workload.arrival_ps[-1] == 0:
        raise InputError("a fit needs at least two requests that arrive at different times", where=workload.name)
    return WorkloadSpec(
        arrivals=_arrivals(workload),
        lengths=JointLengths(histogram=_histogram(workload)),
        prefix=None if workload.prefix is None else _conversations(workload, workload.prefix),
    )


def _arrivals(workload: Workload) -> Counts:
    seconds = workload.arrival_ps / PS_PER_S
    coarsest = _counted(seconds, _INTERVALS[0])
    # Gamma gaps of a high variation are heaps of simultaneous requests. Where finer counts explain the variation as
    # load that comes and goes, they are nearer to the trace; where they don't, requests really come in heaps.
    for every in _INTERVALS:
        process = _counted(seconds, every)
        if process.cv <= _SMOOTH:
            return process
    return coarsest


def _counted(seconds: Float, every: int) -> Counts:
    counts = np.bincount((seconds // every).astype(np.int64))
    # A trace ends with its last request; where that is the first of an interval, the interval still gets a width.
    span = max(float(seconds[-1]), every * (len(counts) - 1) + every / 60)
    cv = _variation_within(seconds, counts, np.minimum(every * np.arange(len(counts) + 1.0), span))
    return Counts.model_validate({"process": "counts", "every": f"{every}s", "counts": counts.tolist(),
                                  "span": f"{span!r}s", "cv": round(cv, 3)})  # fmt: skip


def _variation_within(seconds: Float, counts: Int, edges: Float) -> float:
    """Return the ``cv`` at which gamma gaps scaled to fill each interval vary as much as the trace's own."""
    squares = 0.0
    for interval, times in enumerate(np.split(seconds, np.cumsum(counts)[:-1])):
        if len(times):
            gaps = np.diff(times, prepend=edges[interval], append=edges[interval + 1])
            squares += float(((gaps / gaps.mean() - 1) ** 2).sum())
    # n gaps of gamma shape a, scaled to a sum, have the squared variation (n - 1) / (n a + 1) (a Dirichlet's).
    n = counts[counts > 0] + 1
    low, high = 1e-4, 1e4
    for _ in range(60):
        shape = math.sqrt(low * high)
        low, high = (shape, high) if (n * (n - 1) / (n * shape + 1)).sum() > squares else (low, shape)
    return float(min(shape**-0.5, 100.0))


def _histogram(workload: Workload) -> str:
    resolution = _FINEST
    while True:
        text = make_histogram(workload.prompt_tokens, workload.output_tokens, resolution)
        if len(text) <= _MOST_TEXT or resolution <= _COARSEST:
            return text
        resolution -= 1


def _conversations(workload: Workload, prefix: PrefixTable) -> ConversationPrefix | None:
    common = _common(prefix)
    reuses = shared_tokens(workload) > common
    gaps = _gaps_to_parent(workload, prefix, common)
    if not reuses.any() and not common:
        return None
    fitted = ConversationPrefix.model_validate({
        "kind": "conversations",
        "turns": round(len(workload) / max(1, int((~reuses).sum())), 4),
        "gap": f"{max(float(np.mean(gaps)) if gaps else 0.0, 1e-3):.4g}s",
        "common": common,
    })  # fmt: skip
    return fitted.model_copy(update={"similarity": _similarity(workload, fitted)})


def _common(prefix: PrefixTable) -> int:
    """Return how many tokens all prompts begin with, as far as their first segments tell."""
    if (np.diff(prefix.offsets) == 0).any():
        return 0
    first = prefix.offsets[:-1]
    same = np.ptp(prefix.ids[first]) == 0 and np.ptp(prefix.end_tokens[first]) == 0
    return int(prefix.end_tokens[0]) if same else 0


def _gaps_to_parent(workload: Workload, prefix: PrefixTable, common: int) -> list[float]:
    """Return the seconds since the latest request that shares most, for requests that share more than all do."""
    latest: dict[tuple[int, int], float] = {}
    gaps = []
    keys = list(zip(prefix.ids.tolist(), prefix.end_tokens.tolist(), strict=True))
    offsets = prefix.offsets.tolist()
    for row, now in enumerate((workload.arrival_ps / PS_PER_S).tolist()):
        segments = keys[offsets[row] : offsets[row + 1]]
        hits = [key for key in segments if key[1] > common and key in latest]
        if hits:
            gaps.append(now - latest[hits[-1]])
        latest.update(dict.fromkeys(segments, now))
    return gaps


def _similarity(workload: Workload, fitted: ConversationPrefix) -> float:
    """Return the similarity of lengths at which as many prompt tokens repeat an earlier prompt as in the trace."""
    target = shared_tokens(workload).sum()
    plain = replace(workload, prefix=None, session=None)
    low, high = 0.0, 1.0
    for _ in range(10):  # to 0.001, finer than the seed's own scatter
        middle = (low + high) / 2
        trial = fitted.model_copy(update={"similarity": middle}).apply(plain, Streams(0).get("prefix"))
        if shared_tokens(trial).sum() < target:
            low = middle
        else:
            high = middle
    return round((low + high) / 2, 3)
