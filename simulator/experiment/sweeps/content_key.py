"""A point's content key: equal keys mean that running it again would give the same results."""

import inspect
import json
from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from simulator.cluster.registry import ROUTERS
from simulator.core.data import data_dir
from simulator.core.errors import InputError
from simulator.experiment.load import Variant
from simulator.experiment.named import looks_like_path
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.traces import resolve

_PACKAGE = Path(__file__).resolve().parents[2]
# Floors of the package that only read results.
_READERS = {"cli", "report"}
# Libraries whose version decides about results: random draws and the event queue.
_LIBRARIES = ("numpy", "simpy")
_LONGEST_NAME = 200
_LENGTH = 20  # hex digits: 80 bits, so that two points of a lifetime do not meet


class ContentKeys:
    """Makes the keys of an experiment's points; reads each input file once.

    ``folder``: where relative paths of the workload count from.
    """

    def __init__(self, folder: Path, *, exact_steps: bool) -> None:
        self._folder = folder
        self._common = {
            "exact_steps": exact_steps,
            "code": _digest(_code()),
            "data": _digest(_shipped()),
            "libraries": {name: version(name) for name in _LIBRARIES},
        }
        self._digests: dict[Path, str] = {}

    def key(self, variant: Variant) -> str:
        """Return a run's key: of its configuration, seed and name, the simulator's code, and the files it reads."""
        config = variant.config
        parts = {
            **self._common,
            "name": variant.name,
            "variant": variant.variant,
            "sweep": variant.sweep,
            "config": config.model_dump(mode="json"),
            "inputs": [self._digest_of(path) for path in self._inputs(config)],
        }
        return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:_LENGTH]

    def _inputs(self, config: Experiment) -> Iterator[Path]:
        """Yield the files a run reads besides the shipped ones, in a settled order."""
        if config.workload.trace is not None:
            origin = resolve(config.workload.trace, self._folder)
            if isinstance(origin, Path):
                yield origin
        for text in sorted(set(_texts(config.model_dump(mode="json")))):
            yield from _files(text, (Path(), self._folder))
        yield from _policy_files(config)

    def _digest_of(self, path: Path) -> str:
        path = path.resolve()
        if path not in self._digests:
            # What a YAML input names belongs to it: a profile's tables, a fitted workload's lengths.
            named = _named_in(path) if path.suffix in (".yaml", ".yml") else []
            self._digests[path] = _digest([path, *named])
        return self._digests[path]


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a tree."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def _files(text: str, folders: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the file a text names, or a model folder's configuration, if it names one."""
    if not looks_like_path(text) or "\n" in text:
        return
    for path in (folder / Path(text).expanduser() for folder in folders):
        if path.is_file():
            yield path
            return
        if path.is_dir():
            yield from sorted(path.glob("*.json"))
            return


def _named_in(path: Path) -> list[Path]:
    from simulator.core.yaml_source import read_yaml

    try:
        texts = sorted(set(_texts(read_yaml(path).value)))
    except InputError:
        return []  # whoever reads it in earnest says what is wrong with it
    # Here a plain file name counts, too: a profile names its tables so.
    named = (path.parent / text for text in texts if text and len(text) < _LONGEST_NAME and "\0" not in text)
    return [found for found in named if found.is_file()]


def _policy_files(config: Experiment) -> Iterator[Path]:
    """Yield the source files of policies and techniques that are not the simulator's own."""
    classes = [SCHEDULERS.get(spec.scheduler.name) for spec in config.cluster.instances]
    techniques = [TECHNIQUES.get(choice.name) for choice in config.techniques]
    for policy in (*classes, *techniques, ROUTERS.get(config.cluster.router.name)):
        source = inspect.getsourcefile(policy)
        if source is not None and not Path(source).resolve().is_relative_to(_PACKAGE):
            yield Path(source)


@lru_cache(maxsize=1)
def _code() -> tuple[Path, ...]:
    files = (path for path in _PACKAGE.rglob("*") if path.suffix in (".py", ".yaml"))
    return tuple(sorted(path for path in files if path.relative_to(_PACKAGE).parts[0] not in {*_READERS, "_data"}))


@lru_cache(maxsize=1)
def _shipped() -> tuple[Path, ...]:
    profiles, workloads = data_dir("hardware_profiles"), data_dir("workloads")
    found = [path for folder in (profiles, workloads) for path in folder.rglob("*") if path.is_file()]
    harness = profiles / "microbench"
    return tuple(sorted(path for path in found if not path.is_relative_to(harness)))


def _digest(paths: "tuple[Path, ...] | list[Path]") -> str:
    total = sha256()
    for path in paths:
        with path.open("rb") as file:
            # Names count as well as contents, but not where a checkout lies.
            total.update(path.name.encode() + b"\0")
            while block := file.read(1 << 20):
                total.update(block)
        total.update(b"\0")
    return total.hexdigest()
