"""Too many candidates to probe each: Optuna picks those worth it, by what the others gave."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from simulator.core.errors import InputError

Point = tuple[int, ...]

_STALE = 20  # picks in a row that were probed before: the sampler has settled


def sample(
    sizes: Sequence[int], trials: int, batch: int, seed: int, probe: Callable[[list[Point]], list[float]]
) -> None:
    """Probe up to ``trials`` points of a grid, ``batch`` at a time, chosen by a tree-structured Parzen estimator.

    A point has an index for each axis, below its size. ``probe`` returns the objective of new points, to be made
    least; infinity where there is none. InputError if Optuna is not installed.
    """
    try:
        import optuna
    except ImportError:
        raise InputError("optuna is not installed", where="search.method",
                         hint="pip install 'tokenyard[optuna]', or take method: grid") from None  # fmt: skip
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(10, trials // 4), constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    axes: dict[str, Any] = {
        f"axis {index}": optuna.distributions.CategoricalDistribution(range(size)) for index, size in enumerate(sizes)
    }
    known: dict[Point, float] = {}
    stale = 0
    while len(known) < min(trials, math.prod(sizes)) and stale < _STALE:
        asked = [study.ask(axes) for _ in range(min(batch, trials - len(known)))]
        points = [tuple(trial.params[name] for name in axes) for trial in asked]
        new = [point for point in dict.fromkeys(points) if point not in known]
        known |= zip(new, probe(new), strict=True)
        stale = 0 if new else stale + 1
        for trial, point in zip(asked, points, strict=True):
            # What cannot serve at all is worse than anything that can, but is no number that Optuna takes.
            study.tell(trial, min(known[point], 1e12))
