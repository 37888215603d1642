"""A workload in numbers and in a picture."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simulator.core.units import PS_PER_S
from simulator.workload.table import Int, Workload

PERCENTILES = (50, 90, 95, 99)


@dataclass(frozen=True)
class Lengths:
    """A distribution of token counts; ``percentiles`` is keyed by the percentage."""

    mean: float
    percentiles: dict[int, float]
    min: int
    max: int


@dataclass(frozen=True)
class Summary:
    """A workload's numbers. ``rate`` is requests/s, ``gap_cv`` the variation of the gaps between arrivals.

    ``prefix_share`` is the share of prompt tokens that an earlier prompt begins with too: what an endless cache would
    hit. Time figures are None in a closed loop and for fewer than two requests.
    """

    name: str
    source: str
    requests: int
    duration_s: float | None
    rate: float | None
    gap_cv: float | None
    prompt: Lengths
    output: Lengths
    total: Lengths
    prefix_share: float
    clients: int


def summarise(workload: Workload) -> Summary:
    """Return the numbers of a workload that has at least one request."""
    seconds = workload.arrival_ps / PS_PER_S
    timed = workload.closed_loop is None and len(workload) > 1 and seconds[-1] > 0
    gaps = np.diff(seconds)
    return Summary(
        workload.name,
        workload.source,
        len(workload),
        float(seconds[-1]) if timed else None,
        float((len(workload) - 1) / (seconds[-1] - seconds[0])) if timed else None,
        float(gaps.std() / gaps.mean()) if timed else None,
        _lengths(workload.prompt_tokens),
        _lengths(workload.output_tokens),
        _lengths(workload.prompt_tokens + workload.output_tokens),
        float(shared_tokens(workload).sum() / workload.prompt_tokens.sum()),
        len(workload.clients),
    )


def shared_tokens(workload: Workload) -> Int:
    """Return for each request how many of its first prompt tokens an earlier request's prompt has too."""
    shared = np.zeros(len(workload), np.int64)
    prefix = workload.prefix
    if prefix is None or not len(prefix.ids):
        return shared
    row = np.repeat(np.arange(len(workload)), np.diff(prefix.offsets))
    content = np.unique(prefix.ids, return_inverse=True)[1] * (prefix.end_tokens.max() + 1) + prefix.end_tokens
    _, first, code = np.unique(content, return_index=True, return_inverse=True)
    seen_before = row[first][code] < row
    np.maximum.at(shared, row[seen_before], prefix.end_tokens[seen_before])
    return shared


def per_minute(workload: Workload) -> Int:
    """Return how many requests arrive in each minute from 0 on."""
    return np.bincount(workload.arrival_ps // (60 * PS_PER_S))


def plot_against(trace: Workload, spec: Workload, path: Path) -> None:
    """Write a PNG that lays a spec's requests over the trace they were fitted to: rate, gaps and lengths."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic([["rate", "rate", "gap"], ["prompt", "output", "total"]])
    for workload, kind, color, width in ((trace, "trace", "#aaaaaa", 4.0), (spec, "spec", "#d95f02", 1.3)):
        label = f"{kind}: {len(workload):,} requests"
        counts, end = per_minute(workload), workload.arrival_ps[-1] / PS_PER_S / 60
        edges = np.minimum(np.arange(len(counts) + 1), max(end, len(counts) - 1 + 1 / 60))
        axes["rate"].stairs(counts / np.diff(edges) / 60, edges, label=label, baseline=None, color=color, lw=width)
        curves = {
            "gap": np.maximum(np.diff(workload.arrival_ps) / PS_PER_S, 1e-6),  # equal times have a place on a log axis
            "prompt": workload.prompt_tokens,
            "output": workload.output_tokens,
            "total": workload.prompt_tokens + workload.output_tokens,
        }
        for name, values in curves.items():
            share = np.arange(1, len(values) + 1) / len(values)
            axes[name].step(np.sort(values), share, where="post", color=color, lw=width)
    axes["rate"].set(title="requests per second, by minute", xlabel="minute", ylim=(0, None), xlim=(0, None))
    for name, title, unit in (("gap", "gap between arrivals", "s"), ("prompt", "prompt", "tokens"),
                              ("output", "output", "tokens"), ("total", "prompt + output", "tokens")):  # fmt: skip
        axes[name].set(title=title, xlabel=f"{unit} (log scale)", xscale="log", ylim=(0, 1), ylabel="share at or below")
    for axis in axes.values():
        axis.grid(alpha=0.3)
    figure.suptitle(f"{spec.name}: the trace and the requests generated from its fit")
    figure.legend(*axes["rate"].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=110)


def _lengths(tokens: NDArray[np.int64]) -> Lengths:
    values = np.percentile(tokens, PERCENTILES)
    return Lengths(float(tokens.mean()), dict(zip(PERCENTILES, values.tolist(), strict=True)), int(tokens.min()),
                   int(tokens.max()))  # fmt: skip
