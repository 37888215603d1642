"""Read a reproduction's YAML strictly: what is wrong is one sentence with its line."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from simulator.core.data import data_dir
from simulator.core.errors import unknown
from simulator.core.yaml_source import YamlSource, read_yaml
from simulator.experiment.checking import validate_as
from simulator.experiment.reproductions.tools.setup import Setup

S = TypeVar("S", bound=Setup)


def folder() -> Path:
    """Return where the set-ups stand."""
    return data_dir("experiments") / "reproduce"


def read_setup(file: Path, kind: type[S]) -> S:
    """Return a set-up; InputError names the place of the first mistake."""
    source = read_yaml(file)
    sections = {
        "costs": _likes(source, "costs", "cost", shared_costs()),
        "worlds": _likes(source, "worlds", "world", {}),
    }
    return validate_as(kind, YamlSource({**source.value, **sections}, source.places))


def _likes(source: YamlSource, section: str, kind: str, shared: Mapping[str, dict[str, Any]]) -> Any:
    """Return a section with every ``like`` replaced by the entry it names, of those above it or of the shared ones."""
    given = source.value.get(section, {})
    if not isinstance(given, dict):
        return given
    made: dict[str, Any] = {}
    for name, entry in given.items():
        like = entry if isinstance(entry, str) else entry.get("like") if isinstance(entry, dict) else None
        made[name] = entry
        if like is not None:
            known = {**shared, **{key: at for key, at in made.items() if key != name and isinstance(at, dict)}}
            if like not in known:
                where = source.where((section, name) if isinstance(entry, str) else (section, name, "like"))
                raise unknown(kind, str(like), known, where=where)
            changes = {} if isinstance(entry, str) else {key: at for key, at in entry.items() if key != "like"}
            made[name] = {**known[like], **changes}
    return made


@lru_cache(maxsize=1)
def shared_costs() -> dict[str, dict[str, Any]]:
    """Return the fits that any set-up may name, by name, as YAML has them."""
    return {file.stem: read_yaml(file).value for file in sorted((folder() / "costs").glob("*.yaml"))}
