"""Tokenyard: a discrete-event simulator of LLM serving clusters.

``run`` simulates an experiment and ``load`` reads results; both give an object with DataFrames (docs/python.md).
"""

from typing import TYPE_CHECKING

from simulator.compiled import prefer_compiled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from simulator.experiment.stored.frames import Results

__version__ = "0.1.0"
__all__ = ["__version__", "load", "run"]

prefer_compiled()


def run(
    experiment: "str | Path | Mapping[str, Any]",
    *,
    set: "Mapping[str, Any] | Sequence[str]" = (),
    out: "str | Path" = "results",
    jobs: int | None = None,
) -> "Results":
    """Simulate an experiment, given as its YAML's path or as the same in plain values, and return its results.

    ``set`` overrides keys by path (``{"cluster.router": "random"}``), ``out`` is where the folder of the experiment's
    name goes, ``jobs`` the processes of a sweep (default: one on each core). Raises simulator.core.InputError where
    the command would exit with 2, and KeyboardInterrupt after what had finished was written.
    """
    from simulator.experiment.stored.run import run as run_and_load

    return run_and_load(experiment, overrides=set, out=out, jobs=jobs)


def load(folder: "str | Path") -> "Results":
    """Return the results in a folder; raises simulator.core.InputError where there are none."""
    from simulator.experiment.stored.frames import load as load_folder

    return load_folder(folder)
