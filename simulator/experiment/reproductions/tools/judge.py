"""From what was found to the verdict, and to the JSON that the command prints."""

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from simulator.experiment.reproductions.tools.outcome import Outcome, Row
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.target import Target, middle


def judge(name: str, setup: Setup, outcome: Outcome, *, quick: bool = False) -> dict[str, Any]:
    """Return a reproduction as plain values; ValueError unless every target has its row and every row its target.

    The verdict is ``reproduced`` if all required and all shape rows hold, ``shape only`` if all shape rows do and there
    is one, else ``not reproduced``; ``why`` names the rows that fail.
    """
    if set(outcome.rows) != set(setup.targets):
        odd = sorted(set(outcome.rows) ^ set(setup.targets))
        raise ValueError(f"reproduction {name}: rows and targets differ in {', '.join(odd)}")
    rows = [_row(key, target, outcome.rows[key]) for key, target in setup.targets.items()]
    verdict, why = _verdict(rows)
    return {
        "name": name,
        "system": setup.system,
        "claim": setup.claim,
        "ours": _in_words(rows),
        "tolerance": "; ".join(f"{row['what']}: {row['tolerance']}" for row in rows if row["role"] != "shown"),
        "verdict": verdict,
        "why": why,
        "paper": setup.paper,
        "venue": setup.venue,
        "source": setup.source,
        "read_in": list(setup.read_in),
        "setup": setup.setup,
        "requests": setup.requests,
        "seeds": list(setup.seeds),
        "horizon": setup.horizon,
        "quick": quick,
        "calibrated": [each.model_dump() for each in setup.calibrated],
        "rows": rows,
        "notes": list(outcome.notes),
        "figure": None if outcome.figure is None else _finite(asdict(outcome.figure)),
    }


def _row(key: str, target: Target, row: Row) -> dict[str, Any]:
    return {
        "key": key,
        "what": target.what,
        "unit": target.unit,
        "effect": target.effect,
        "role": target.role,
        "paper": target.paper,
        "ours": _spread(row.ours, target),
        "uncalibrated": None if row.uncalibrated is None else _spread(row.uncalibrated, target),
        "tolerance": target.tolerance(),
        "holds": None if target.role == "shown" else target.holds(row.ours),
        "uncalibrated_holds": None
        if target.role == "shown" or row.uncalibrated is None
        else target.holds(row.uncalibrated),
    }


def _spread(values: Sequence[float], target: Target) -> dict[str, Any]:
    spread = Spread.of(values)
    stated: dict[str, Any] = {"mean": spread.mean, "sd": spread.sd, "values": list(spread.values)}
    if target.of == "median":
        stated["median"] = middle(values, "median")
    return dict(_finite(stated))


def _verdict(rows: Sequence[dict[str, Any]]) -> tuple[str, str]:
    required = [row for row in rows if row["role"] == "required"]
    shape = [row for row in rows if row["role"] == "shape"]
    failing = [row["what"] for row in (*required, *shape) if not row["holds"]]
    if required and not failing:
        return "reproduced", ""
    why = (
        f"outside tolerance: {'; '.join(failing)}" if failing else "the paper's figure itself is not held against ours"
    )
    if shape and all(row["holds"] for row in shape):
        return "shape only", why
    return "not reproduced", why


def _in_words(rows: Sequence[dict[str, Any]]) -> str:
    counted = [row for row in rows if row["role"] != "shown"] or rows
    return "; ".join(f"{row['what']}: {_stated(row['ours'])}{_beside(row)}" for row in counted)


def _stated(spread: dict[str, Any]) -> str:
    value = spread.get("median", spread["mean"])
    return "none" if value is None else f"{value:.4g}"


def _beside(row: dict[str, Any]) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    return unit + (f" (paper {row['paper']:g})" if row["paper"] is not None else "")


def _finite(value: Any) -> Any:
    """Return plain values with None where a number is not finite: JSON has no word for it."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
