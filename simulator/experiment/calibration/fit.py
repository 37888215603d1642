"""Least absolute relative error: Gauss-Newton steps on simulated figures, reweighted so that outliers do not rule."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError
from simulator.experiment.calibration.observations import Observation
from simulator.experiment.calibration.recipe import TRIAL_STEPS, Step
from simulator.experiment.calibration.simulator import Simulator
from simulator.hardware.engine_profile import EngineProfile

Float = NDArray[np.float64]
Report = Callable[[str], None]
_ROUNDS = 4
_SMALL = 0.02  # relative errors below this count as squares, above it as absolute values
# What n trial steps away from its start cost a constant: n squared times this, in mean absolute relative errors. Ten
# cost 0.05 %: nothing where the data say what it is, but a constant that they do not show stays near where it was.
_INERTIA = 5e-6
_ALLOWED = {"prefill": (0.8, 1.3), "decode": (0.8, 1.3), "untuned_experts": (1.0, 2.0)}


class Fit(NamedTuple):
    """Fitted constants in seconds (or as factors) by name, and the mean absolute relative error before and after."""

    constants: dict[str, float]
    before: float
    after: float
    figures: int


class Held(NamedTuple):
    """The constants of a fit by name: where they started, and by how much each is changed to see what it does."""

    names: Sequence[str]
    start: Float
    trial: Float


def fit_step(
    engine: EngineProfile, step: Step, data: Sequence[Observation], simulate: Simulator, report: Report
) -> tuple[EngineProfile, Fit]:
    """Return the engine with a step's constants fitted, and the fit.

    Every group of observations weighs the same, whatever its number of points.
    """
    start = getattr(engine.named(step.builds[0]), step.side)
    at = np.array([getattr(start, name) for name in step.free])
    trial = np.array([TRIAL_STEPS[name] for name in step.free])
    weights = _weights(data)

    def residuals(values: Float) -> Float:
        tried = with_constants(engine, step, dict(zip(step.free, values.tolist(), strict=True)))
        return _residuals(simulate(tried, data, step.builds), data)

    start_at = at.copy()
    errors = residuals(at)
    first = best = _score(errors, weights)
    for round_ in range(_ROUNDS):
        columns = []
        for index in range(len(at)):
            moved = at.copy()
            moved[index] += trial[index]
            columns.append((residuals(moved) - errors) / trial[index])
        jacobian = np.column_stack(columns)
        moved, score, errors_there = _descend(
            residuals, at, errors, jacobian, weights, Held(step.free, start_at, trial)
        )
        shown = ", ".join(f"{name} {value:.3g}" for name, value in zip(step.free, moved, strict=True))
        report(f"round {round_ + 1}: error {score:.2%} with {shown}")
        if score > best - 2e-4:
            if score < best:
                at, best = moved, score
            break
        at, errors, best = moved, errors_there, score
    # Three digits are what the data can tell.
    constants = {name: float(f"{value:.3g}") for name, value in zip(step.free, at.tolist(), strict=True)}
    return with_constants(engine, step, constants), Fit(constants, first, best, len(errors))


def _descend(
    residuals: Callable[[Float], Float],
    at: Float,
    errors: Float,
    jacobian: Float,
    weights: Float,
    held: Held,
) -> tuple[Float, float, Float]:
    """Return where a reweighted Gauss-Newton step leads, halved until it helps: values, score and errors there."""
    target = _solve(at, errors, jacobian, weights, held)
    share = 1.0
    while True:
        there = at + share * (target - at)
        found = residuals(there)
        score = _score(found, weights)
        if score < _score(errors, weights) or share < 0.2:
            return there, score, found
        share /= 2


def _solve(at: Float, errors: Float, jacobian: Float, weights: Float, held: Held) -> Float:
    """Minimise the weighted absolute value of the linearised errors, within each constant's bounds."""
    low, high = np.array([_ALLOWED.get(name, (0.0, np.inf)) for name in held.names]).T
    values: Float = at.copy()
    bound = np.zeros(len(at), bool)
    for _ in range(30):
        now = errors + jacobian @ (values - at)
        scale = np.sqrt(weights / np.maximum(np.abs(now), _SMALL))
        free = ~bound
        inertia = np.diag(np.sqrt(_INERTIA) / held.trial)
        rows = np.vstack([jacobian * scale[:, None], inertia])[:, free]
        aims = np.concatenate([-now * scale, inertia @ (held.start - values)])
        step, *_ = np.linalg.lstsq(rows, aims, rcond=None)
        values[free] += step
        outside = (values < low) | (values > high)
        np.clip(values, low, high, out=values)
        bound |= outside
        if bound.all():
            break
    found: Float = values
    return found


def with_constants(engine: EngineProfile, step: Step, constants: Mapping[str, float]) -> EngineProfile:
    """Return the engine with constants of a step's builds replaced."""
    builds = []
    for build in engine.builds:
        if build.name in step.builds:
            host = getattr(build, step.side).model_copy(update=dict(constants))
            build = build.model_copy(update={step.side: host})
        builds.append(build)
    return engine.model_copy(update={"builds": tuple(builds)})


def _residuals(simulated: Sequence[dict[str, float] | str], data: Sequence[Observation]) -> Float:
    """Return relative errors, 0 for the few that cannot be simulated; InputError if none can."""
    if all(isinstance(figures, str) for figures in simulated):
        raise InputError(f"nothing of {data[0].group} can be simulated: {simulated[0]}")
    found = []
    for observation, figures in zip(data, simulated, strict=True):
        for name, measured in observation.measured.items():
            # What cannot be simulated says nothing, with these constants or others.
            found.append(0.0 if isinstance(figures, str) else figures[name] / measured - 1)
    return np.array(found)


def _weights(data: Sequence[Observation]) -> Float:
    counts: dict[tuple[str, str], int] = {}
    keys = [(observation.group, name.split()[0]) for observation in data for name in observation.measured]
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
    weights = np.array([1.0 / counts[key] for key in keys])
    shares: Float = weights / weights.sum()
    return shares


def _score(errors: Float, weights: Float) -> float:
    return float(weights @ np.abs(errors))
