"""Wall time of one sweep on one core and on two: the routers experiment with four seeds a point, 100 points.

Run from the project's root on a quiet machine: python -m tests.benchmarks.sweep_speed
"""

import time
from pathlib import Path
from tempfile import TemporaryDirectory

from simulator.core.data import data_dir
from simulator.experiment.load import load_experiment
from simulator.experiment.sweeps.sweep import Sweep
from simulator.experiment.sweeps.workers import Workers

EXPERIMENT = data_dir("experiments") / "compare/routers.yaml"


def main():
    loaded = load_experiment(EXPERIMENT, ["sweep.seeds=4"])
    seconds = {}
    for jobs in (1, 2):
        with TemporaryDirectory() as out:
            start = time.perf_counter()
            Sweep(loaded, Path(out)).run(Workers(jobs=jobs))
            seconds[jobs] = time.perf_counter() - start
        print(f"{len(loaded.runs)} points on {jobs} cores: {seconds[jobs]:.1f} s", flush=True)
    print(f"{seconds[1] / seconds[2]:.2f} times as fast on two")


if __name__ == "__main__":
    main()
