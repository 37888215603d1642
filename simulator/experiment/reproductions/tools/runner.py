"""Simulations of a reproduction on all cores, their results kept so that a killed command goes on where it was."""

import hashlib
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from simulator.experiment.sweeps.workers import Workers

R = TypeVar("R")
Listener = Callable[[int, int], None]
_MISSING: Any = object()


def cache_dir() -> Path:
    """Return the folder where results are kept (below ``TOKENYARD_CACHE_DIR``, else the user's cache)."""
    import pooch

    given = os.environ.get("TOKENYARD_CACHE_DIR")
    return (Path(given) if given else Path(pooch.os_cache("tokenyard"))) / "reproductions"


class Runner:
    """Runs the simulations of reproductions.

    ``data``: the folder with public length files, None without. ``jobs``: processes; None for one on each core.
    ``cache``: the folder of results by content of the task and of the simulator's source; None keeps none. ``fresh``:
    replace what it holds. ``progress`` hears how many simulations asked for together are done, and of how many.
    """

    def __init__(
        self,
        *,
        data: Path | None = None,
        jobs: int | None = None,
        cache: Path | None = None,
        fresh: bool = False,
        progress: Listener | None = None,
    ) -> None:
        self.data = None if data is None else str(data)
        self._workers = Workers(jobs)
        self._cache = cache
        self._fresh = fresh
        self._progress = progress or (lambda done, total: None)
        self._stamp = "" if cache is None else _stamp(data)

    def map(self, work: Callable[..., R], tasks: Sequence[tuple[Any, ...]]) -> list[R]:
        """Return ``work(*task)`` of every task, in order.

        ``work`` is a function at a module's top level; tasks hold plain values, settings and worlds.
        """
        keys = [None if self._cache is None else self._key(self._cache, work, task) for task in tasks]
        results: list[Any] = [_MISSING if self._fresh else _kept(key) for key in keys]
        missing = [index for index, result in enumerate(results) if result is _MISSING]
        done = len(tasks) - len(missing)
        self._progress(done, len(tasks))
        for index, result in self._workers.map(_numbered, [(index, work, tasks[index]) for index in missing]):
            results[index] = result
            _keep(keys[index], result)
            done += 1
            self._progress(done, len(tasks))
        return results

    def _key(self, cache: Path, work: Callable[..., R], task: tuple[Any, ...]) -> Path:
        from pydantic_core import to_json

        # What a task holds is written out with all its content; without serialize_as_any, only what its base class has.
        content = to_json(task, serialize_as_any=True)
        name = f"{work.__module__}.{work.__qualname__}"
        digest = hashlib.sha256(b"\0".join((self._stamp.encode(), name.encode(), content))).hexdigest()
        return cache / f"{digest}.pickle"


def _numbered(item: tuple[int, Callable[..., R], tuple[Any, ...]]) -> tuple[int, R]:
    index, work, task = item
    return index, work(*task)


def _kept(file: Path | None) -> Any:
    if file is None:
        return _MISSING
    try:
        return pickle.loads(file.read_bytes())
    except (OSError, pickle.UnpicklingError, EOFError):
        return _MISSING


def _keep(file: Path | None, result: Any) -> None:
    if file is None:
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}")
    unfinished.write_bytes(pickle.dumps(result))
    unfinished.replace(file)


def _stamp(data: Path | None) -> str:
    """Return all that a result depends on beside its task: the simulator's source, Python, numpy, and the data."""
    files = sorted(data.glob("*.csv")) if data is not None else []
    stats = [(file.name, file.stat()) for file in files]
    return "\n".join([_source(), *(f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats)])


@lru_cache(maxsize=1)
def _source() -> str:
    """Return a digest of the source of all that simulates, and the versions of what it runs on."""
    import numpy as np

    package = Path(__file__).parents[3]
    parts = [sys.version, np.__version__]
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package)
        if name.parts[0] not in ("cli", "report"):
            parts += [str(name), hashlib.sha256(file.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()
