"""Run a calibration recipe: every fit in order, and each group predicted by constants that never saw it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simulator.core import InputError
from simulator.experiment.calibration.fit import Fit, Report, fit_step, with_constants
from simulator.experiment.calibration.observations import Observation, observations
from simulator.experiment.calibration.recipe import DataSet, Recipe, Step
from simulator.experiment.calibration.simulator import Simulator
from simulator.hardware.engine_profile import EngineProfile

# Where a fit starts, so that nothing of an earlier one is left in it; a floor where it can be felt.
_NEUTRAL = {"iteration": 5e-4, "sequence": 5e-6, "prefill": 1.0, "decode": 1.0, "untuned_experts": 1.0,
            "launch_layer": 6e-4, "launch_experts": 3e-4, "floor_iteration": 2e-3, "floor_sequence": 5e-5}  # fmt: skip


class Calibration(NamedTuple):
    """The engine with fitted constants, and one line a step: builds, constants, errors before and after, figures."""

    engine: EngineProfile
    steps: list[dict[str, Any]]


class Calibrator:
    """A recipe, the engine it fits, and the measured files of a folder."""

    def __init__(
        self,
        recipe: Recipe,
        engine: EngineProfile,
        folder: Path,
        *,
        workers: int = 1,
        report: Report | None = None,
    ) -> None:
        self.recipe = recipe
        self._report = report or (lambda _: None)
        self._simulate = Simulator(workers)
        self._data = {
            source.model_dump_json(): observations(folder, source) for step in recipe.steps for source in step.data
        }
        for step in recipe.steps:
            for name in step.builds:
                engine.named(name)
            engine = with_constants(engine, step, {name: _NEUTRAL.get(name, 0.0) for name in step.free})
        self._neutral = engine

    def fit(self, without: str | None = None) -> Calibration:
        """Fit every step, leaving out the data of group ``without``.

        A step that has no data left takes each of its constants from another step that fitted it: the last before it,
        else the next after it. What no other step fits stays neutral.
        """
        engine = self._neutral
        lines: list[dict[str, Any]] = []
        without_data: list[tuple[int, Step]] = []
        for index, step in enumerate(self.recipe.steps):
            data = [seen for source in step.data if source.group != without for seen in self._of(source)]
            self._report(f"{', '.join(step.builds)} ({step.side}): {', '.join(step.free)} on {len(data)} observations")
            if data:
                engine, fit = self._fit(engine, step, data)
            else:
                constants = {name: _NEUTRAL.get(name, 0.0) for name in step.free} | _fitted(step, lines)
                engine, fit = with_constants(engine, step, constants), Fit(constants, float("nan"), float("nan"), 0)
                without_data.append((index, step))
            lines.append(_line(step, fit, data))
        for index, step in without_data:
            known = _fitted(step, lines[:index])
            late = {name: value for name, value in _fitted(step, lines[:index:-1]).items() if name not in known}
            engine = with_constants(engine, step, late)
            lines[index]["constants"] |= late
        return Calibration(engine, lines)

    def _fit(self, engine: EngineProfile, step: Step, data: Sequence[Observation]) -> tuple[EngineProfile, Fit]:
        """Fit a step from where earlier ones left its constants and from neutral ones; the better fit holds.

        Iterations that replay a graph or not, and queues that drain or not, leave more than one valley.
        """
        neutral = with_constants(engine, step, {name: _NEUTRAL.get(name, 0.0) for name in step.free})
        starts = [engine] if neutral == engine else [engine, neutral]
        fits = [fit_step(start, step, data, self._simulate, self._report) for start in starts]
        return min(fits, key=lambda found: found[1].after)

    def errors(self, engine: EngineProfile, group: str) -> dict[str, list[float]]:
        """Return the signed relative errors of a group by metric; what cannot be simulated is left out."""
        pairs = [(source, step) for step in self.recipe.steps for source in step.data if source.group == group]
        builds = {name for _, step in pairs for name in step.builds}
        sources = {source.model_dump_json(): source for source, _ in pairs}
        data = [seen for source in sources.values() for seen in self._of(source)]
        errors: dict[str, list[float]] = {}
        for observation, figures in zip(data, self._simulate(engine, data, builds), strict=True):
            for name, measured in observation.measured.items():
                if not isinstance(figures, str):
                    errors.setdefault(name.split()[0], []).append(figures[name] / measured - 1)
        return errors

    def leave_one_out(self, fitted: EngineProfile) -> list[dict[str, Any]]:
        """Return the errors of each group and metric, with ``fitted`` and with constants that never saw the group."""
        table = []
        for group in self.recipe.groups():
            self._report(f"leaving out {group}")
            inside, outside = self.errors(fitted, group), self.errors(self.fit(group).engine, group)
            table += [
                {"group": group, "metric": metric, "figures": len(inside[metric])}
                | {"fitted_mape": _mape(inside[metric]), "fitted_bias": float(np.mean(inside[metric]))}
                | {"held_out_mape": _mape(outside[metric]), "held_out_bias": float(np.mean(outside[metric]))}
                for metric in inside
            ]
        return table

    def _of(self, source: DataSet) -> list[Observation]:
        return self._data[source.model_dump_json()]


def _fitted(step: Step, lines: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Return what other steps fitted of a step's constants on the same side; the last of several holds."""
    found: dict[str, float] = {}
    for line in lines:
        if line["side"] == step.side and line["figures"]:
            found |= {name: value for name, value in line["constants"].items() if name in step.free}
    return found


def _line(step: Step, fit: Fit, data: Sequence[Observation]) -> dict[str, Any]:
    return {
        "builds": list(step.builds),
        "side": step.side,
        "constants": fit.constants,
        "error_before": fit.before,
        "error": fit.after,
        "figures": fit.figures,
        "groups": list(dict.fromkeys(seen.group for seen in data)),
    }


def _mape(errors: Sequence[float]) -> float:
    if not errors:
        raise InputError("no observation of the group can be simulated")
    return float(np.mean(np.abs(errors)))


def with_provenance(calibration: Calibration, command: str) -> EngineProfile:
    """Return the fitted engine whose builds say what their constants were fitted to, how well, and by which command."""
    builds = []
    for build in calibration.engine.builds:
        told = dict(build.provenance)
        for side in ("host", "in_process"):
            lines = [line for line in calibration.steps if build.name in line["builds"] and line["side"] == side]
            if lines:
                told[side] = "; ".join(map(_told, lines)) + f". {command}"
        builds.append(build.model_copy(update={"provenance": told}))
    return calibration.engine.model_copy(update={"builds": tuple(builds)})


def _told(line: dict[str, Any]) -> str:
    return (
        f"{', '.join(line['constants'])}: fitted to {line['figures']} figures of {', '.join(line['groups'])}, "
        f"mean absolute error {line['error']:.1%} ({line['error_before']:.1%} before)"
    )
