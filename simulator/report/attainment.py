"""The share of requests that keep the SLO, by when they arrived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simulator.report import style
from simulator.report.results import Column, Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]
COLUMNS = ("completed", "arrival_s", "ttft_ms", "tpot_ms", "e2el_ms")
_MOST_SLICES = 80
# With fewer requests in a slice, one late request moves the curve by more than 4 %.
_ENOUGH = 25


@dataclass(frozen=True)
class Attainment:
    """A run's share of good requests in percent by slice of arrival time, NaN where nothing arrived.

    ``edges_s`` has one entry more than ``share`` and ``arrived``, the number of requests that arrived in each slice.
    """

    run: Run
    edges_s: Floats
    share: Floats
    arrived: Floats


def good_requests(run: Run, requests: Mapping[str, Column]) -> NDArray[np.bool_]:
    """Tell which requests (``COLUMNS``) completed within every limit of the run's SLO, as the metrics count them."""
    good = requests["completed"].astype(bool)
    for key, limit in run.slo_ms.items():
        # NaN compares false: a request with one output token has no TPOT and cannot miss its limit.
        good = good & ~(requests[f"{key}_ms"] > limit)
    return good


def attainment_of(run: Run, requests: Mapping[str, Column]) -> Attainment | None:
    """Reduce a run's requests (``COLUMNS``) to slices of equal time; ``None`` without an SLO or without requests."""
    arrival = requests["arrival_s"]
    if not run.slo_ms or not len(arrival):
        return None
    count = int(np.clip(len(arrival) / _ENOUGH, 1, _MOST_SLICES))
    first, last = float(arrival.min()), float(arrival.max())
    edges = np.linspace(first, last if last > first else first + 1.0, count + 1)
    place = np.clip(np.searchsorted(edges, arrival, side="right") - 1, 0, count - 1)
    arrived = np.bincount(place, minlength=count).astype(np.float64)
    good = np.bincount(place, good_requests(run, requests), minlength=count)
    share = np.divide(good * 100, arrived, out=np.full(count, np.nan), where=arrived > 0)
    return Attainment(run, edges, share, arrived)


def figure_attainment(attainments: Sequence[Attainment]) -> "Figure":
    """Draw the share of requests within the SLO over their arrival time, a line a run."""
    looks = style.looks_of([each.run for each in attainments])
    figure, (panel,) = style.panels(1, "Requests within the SLO, by when they arrived", height=3.0)
    labels: set[str] = set()
    for each in attainments:
        look = looks[each.run.group]
        name = style.shorten(each.run.name, 36) if look.own else "others"
        middle = (each.edges_s[:-1] + each.edges_s[1:]) / 2
        label = f"_{name}" if name in labels else name
        labels.add(name)
        panel.plot(middle, each.share, color=look.colour, linestyle=look.dash, label=label, zorder=2 + look.own)
    panel.set_ylim(0, 104)
    panel.set_xlim(left=0)
    panel.set_ylabel("within the SLO (%)")
    panel.set_xlabel("arrival, simulated time (s)")
    style.legend_below(figure, panel)
    return figure
