"""Measured serving points (concurrency and lengths in, mean TTFT and TPOT out) beside simulated ones."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simulator.core import InputError, unknown
from simulator.experiment.validation.point import Point, Unreadable, points_and_rest
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.scores import bias, error, grouped, mape
from simulator.experiment.validation.workers import Listener, on_all

GROUPS = ("system", "engine", "engine_version", "model", "precision", "parallelism")
REGIONS = ("concurrency", "isl", "osl", "parallelism")


class Outcome(NamedTuple):
    """A point's simulated mean TTFT and TPOT in ms (NaN: outputs of one token), or why it could not be simulated."""

    ttft: float = 0.0
    tpot: float = 0.0
    reason: str | None = None


def validate_points(
    path: Path,
    *,
    group_by: Sequence[str] = GROUPS,
    seed: int = 0,
    workers: int | None = 1,
    progress: Listener | None = None,
) -> dict[str, Any]:
    """Simulate every row of a CSV of measured points and return the errors, as fractions of what was measured.

    ``overall``, each entry of ``groups`` and of ``regions`` have ``points``, ``{tpot,ttft}_points`` (rows that are to
    be trusted for it), ``{tpot,ttft}_mape`` and ``_bias`` (mean signed error), and the bias of the TTFTs that are
    flagged, which count for nothing else. ``points`` has every simulated row, ``not_covered`` the others with the
    reason, those with a cell that cannot be among them; ``assumptions`` says where one engine stands in for another.
    InputError where no row can be read.
    """
    points, unreadable = points_and_rest(path)
    for name in group_by:
        if name not in points[0].label():
            raise unknown("group", name, points[0].label(), where="--group-by")
    outcomes = on_all(partial(simulate_point, seed=seed), points, workers=workers, progress=progress)
    pairs = list(zip(points, outcomes, strict=True))
    covered = [(point, outcome) for point, outcome in pairs if outcome.reason is None]
    missed = [_missed(point, outcome) for point, outcome in pairs if outcome.reason is not None]
    missed += [_unreadable(each) for each in unreadable]
    groups = grouped(covered, lambda pair: tuple(pair[0].label()[name] for name in group_by))
    return {
        "overall": _scores(covered) | {"not_covered": len(missed), "replicate_spread": _noise(points)},
        "groups": [dict(zip(group_by, key, strict=True)) | _scores(members) for key, members in sorted(groups.items())],
        "regions": {name: _region(covered, name) for name in REGIONS},
        "points": [_row(point, outcome) for point, outcome in covered],
        "not_covered": missed,
        "assumptions": list(dict.fromkeys(said for point, _ in covered if (said := point.served_by.stand_in))),
    }


def simulate_point(point: Point, seed: int = 0) -> Outcome:
    """Return what the simulated client measures at a point's setup."""
    try:
        setup, client = point.setup(), point.client()
        prediction = predict(setup, client.workload(seed), warmups=client.warmups, seed=seed)
    except InputError as problem:
        return Outcome(reason=problem.message)
    tpot = prediction.tpot[~np.isnan(prediction.tpot)]
    return Outcome(float(prediction.ttft.mean()), float(tpot.mean()) if len(tpot) else math.nan)


def _scores(pairs: Sequence[tuple[Point, Outcome]]) -> dict[str, Any]:
    tpot = [error(outcome.tpot, point.tpot) for point, outcome in pairs if point.counts_for_tpot]
    ttft = [error(outcome.ttft, point.ttft) for point, outcome in pairs if point.counts_for_ttft]
    others = [(point, outcome) for point, outcome in pairs if not point.counts_for_ttft and not math.isnan(point.ttft)]
    flagged = [error(outcome.ttft, point.ttft) for point, outcome in others]
    return {
        "points": len(pairs),
        "tpot_points": len(tpot),
        "tpot_mape": mape(tpot),
        "tpot_bias": bias(tpot),
        "ttft_points": len(ttft),
        "ttft_mape": mape(ttft),
        "ttft_bias": bias(ttft),
        "ttft_flagged_points": len(flagged),
        "ttft_flagged_bias": bias(flagged),
    }


def _region(pairs: Sequence[tuple[Point, Outcome]], name: str) -> list[dict[str, Any]]:
    parts = grouped(pairs, lambda pair: pair[0].label()[name])
    return [{name: key} | _scores(parts[key]) for key in sorted(parts)]


def _noise(points: Sequence[Point]) -> float | None:
    """Return by how much runs of the same point differ: the median spread where there are several."""
    spreads = [point.replicate_spread for point in points if point.replicates > 1]
    return float(np.median(spreads)) if spreads else None


def _row(point: Point, outcome: Outcome) -> dict[str, Any]:
    return point.label() | {
        "where": point.where,
        "flag": point.flag,
        "measured_ttft_ms": _or_none(point.ttft),
        "measured_tpot_ms": _or_none(point.tpot),
        "ttft_ms": outcome.ttft,
        "tpot_ms": _or_none(outcome.tpot),
        "ttft_error": _or_none(error(outcome.ttft, point.ttft)),
        "tpot_error": _or_none(error(outcome.tpot, point.tpot)),
        "counts_for_ttft": point.counts_for_ttft,
        "counts_for_tpot": point.counts_for_tpot,
    }


def _missed(point: Point, outcome: Outcome) -> dict[str, Any]:
    return {"where": point.where, "reason": outcome.reason} | point.label()


def _unreadable(each: Unreadable) -> dict[str, Any]:
    label = {"system": each.row.text("system"), "engine": each.row.text("engine"), "model": each.row.text("model")}
    return {"where": each.row.where, "reason": each.problem.message} | label


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value
