"""Simulates observations with an engine's constants, each pair of both only once."""

import tempfile
from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from simulator.experiment.calibration.observations import Observation
from simulator.experiment.validation.workers import on_all
from simulator.hardware.engine_profile import EngineProfile
from simulator.hardware.save_engine import save_engine

Figures = dict[str, float] | str


class Simulator:
    """Called with an engine and observations, returns what it gives for each, in ms by name, or why not.

    Results are kept: fits that leave out one group after the other ask for the same simulations again and again.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._known: dict[tuple[str, int], Figures] = {}
        self._kept: dict[int, Observation] = {}  # so that no identity is used again

    def __call__(self, engine: EngineProfile, data: Sequence[Observation], builds: Collection[str]) -> list[Figures]:
        """Return the figures of each observation; those were made by some of ``builds``, others do not matter."""
        constants = "".join(build.model_dump_json() for build in engine.builds if build.name in builds)
        missing = [seen for seen in data if (constants, id(seen)) not in self._known]
        if missing:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / f"{engine.name}.yaml"
                save_engine(engine, path)
                figures = on_all(partial(_simulate, engine=str(path)), missing, workers=self._workers)
            for seen, found in zip(missing, figures, strict=True):
                self._kept[id(seen)] = seen
                self._known[constants, id(seen)] = found
        return [self._known[constants, id(seen)] for seen in data]


def _simulate(observation: Observation, engine: str) -> Figures:
    return observation.simulated(engine)
