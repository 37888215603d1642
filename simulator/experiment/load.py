"""Read an experiment: YAML, then ``--set``, then its variants, each checked as a whole.

A relative path is looked for from the current folder first, then from the YAML file's own; an experiment thus works
from the project's root and from beside its data.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError
from simulator.core.yaml_source import KeyPath, YamlSource, dump_yaml, parse_yaml, read_yaml
from simulator.experiment.checking import validate
from simulator.experiment.named import looks_like_path
from simulator.experiment.overrides import override, parse_set
from simulator.experiment.schema import Experiment
from simulator.experiment.sweeps.expand import labels_of, name_of, points_of
from simulator.workload.traces import fitted_names, resolve

# The keys whose values may be paths, wherever they stand, overrides included.
_FILE_KEYS = {"trace", "file", "model", "hardware"}
# What the experiment as a whole decides, not one of its runs.
_NOT_PER_RUN = {"name", "compare", "sweep"}


@dataclass(frozen=True)
class Variant:
    """One run: its name in the results, the experiment it simulates, and what it varies.

    ``variant`` is the entry of ``compare`` (the experiment's name if there is none), ``sweep`` the swept values by
    key path; runs of one variant make one curve.
    """

    name: str
    config: Experiment
    variant: str
    sweep: dict[str, Any]


@dataclass(frozen=True)
class LoadedExperiment:
    """An experiment ready to run; all its runs share seed and arrivals unless they override them."""

    base: Experiment
    runs: list[Variant]
    folder: Path
    source: YamlSource

    @property
    def name(self) -> str:
        """The results folder's name."""
        return self.base.name

    def resolved(self) -> str:
        """Return YAML with defaults filled in and paths absolute, which loads back to the same runs."""
        tree = self.base.model_dump(mode="json", exclude_none=True)
        # One generator's defaults may be no keys of another that a variant switches to.
        tree["workload"] = self.base.workload.model_dump(mode="json", exclude_unset=True)
        tree["sweep"] = self.base.sweep.model_dump(mode="json", exclude_defaults=True)
        for section in ("slo", "compare", "sweep", "techniques"):
            if not tree[section]:
                del tree[section]
        return dump_yaml(tree)

    def locate(self, error: InputError) -> InputError:
        """Return an error whose place is a key path (``workload.trace``) with the place in the file instead."""
        path = tuple(re.split(r"[.\[\]]+", error.where or "")) if error.where else ()
        if not path or path[0] not in Experiment.model_fields:
            return error
        path = tuple(int(part) if part.isdigit() else part for part in path if part)
        return InputError(error.message, where=self.source.where(path), hint=error.hint)


def load_experiment(path: Path, sets: Sequence[str] = ()) -> LoadedExperiment:
    """Return the experiment of a YAML file with ``--set`` overrides; InputError names the place of the first mistake.

    An override of ``sets`` changes the base; an entry of ``compare`` or ``sweep`` for the same key wins over it.
    """
    return _load(named(read_yaml(path), path), path.parent, sets)


def load_mapping(values: Mapping[str, Any], folder: Path, sets: Sequence[str] = ()) -> LoadedExperiment:
    """Return the experiment of plain values, as its YAML would give them; ``folder`` is where its paths count from.

    Without a ``name`` it is called ``experiment``.
    """
    # Written and read again: then what is wrong has a place, and nothing is in it that YAML could not say.
    source = parse_yaml(dump_yaml({"name": "experiment", **values}), "experiment")
    return _load(source, folder, sets)


def _load(source: YamlSource, folder: Path, sets: Sequence[str]) -> LoadedExperiment:
    for text in sets:
        key, value = parse_set(text)
        source = override(source, key, value, where=value.where())
    source = with_files(source, folder)
    base = validate(source)
    runs: dict[str, Variant] = {}
    for name, variant, swept, tree in _variants(source, base):
        if name in runs:
            hint = "drop the repeated value"
            raise InputError(f"two runs are named '{name}'", where=source.where(("sweep",)), hint=hint)
        config = validate(tree)
        check_trace(config, tree, folder)
        runs[name] = Variant(name, config, variant, swept)
    return LoadedExperiment(base, list(runs.values()), folder, source)


def check_trace(config: Experiment, tree: YamlSource, folder: Path) -> None:
    """Raise InputError, with its place, where the workload's trace is neither known nor a file."""
    trace = config.workload.trace
    if trace is None or trace in fitted_names():
        return
    try:
        resolve(trace, folder)
    except InputError as error:
        where = tree.where(("workload", "trace")) if error.where == "workload.trace" else error.where
        raise InputError(error.message, where=where, hint=error.hint) from None


def named(source: YamlSource, path: Path) -> YamlSource:
    """Return the tree with the file's name as its ``name`` where it has none."""
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "-", path.name.removesuffix(path.suffix)).lstrip("-.") or "experiment"
    return YamlSource({"name": stem, **source.value}, source.places)


def _variants(source: YamlSource, base: Experiment) -> Iterator[tuple[str, str, dict[str, Any], YamlSource]]:
    """Yield each run's name, its variant, its swept values and its tree."""
    plain = YamlSource({key: at for key, at in source.value.items() if key not in ("compare", "sweep")}, source.places)
    points = points_of(base.sweep, source, base.seed)
    labels = labels_of(points)
    for variant in base.compare or {base.name: {}}:
        changed = plain
        for key in base.compare.get(variant, {}):
            at: KeyPath = ("compare", variant, key)
            changed = _apply(changed, key, source.part(at), source.where_key(at))
        for point in points:
            tree = changed
            for key, value, where in point:
                tree = _apply(tree, key, value, where)
            names = [variant] if base.compare or not point else []
            names += [name_of(point, labels)] if point else []
            yield " ".join(names), variant, {one.key: one.value.value for one in point}, tree


def _apply(tree: YamlSource, key: str, value: YamlSource, where: str) -> YamlSource:
    if re.split(r"[.\[]", key)[0] in _NOT_PER_RUN:
        raise InputError(f"a run cannot override '{key}'", where=where)
    return override(tree, key, value, where=where)


def with_files(source: YamlSource, folder: Path) -> YamlSource:
    """Return the tree with its paths made absolute; InputError where one leads nowhere."""

    def visit(value: Any, at: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: visit(item, (*at, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [visit(item, (*at, index)) for index, item in enumerate(value)]
        keys = [part for part in at if isinstance(part, str)]
        key = keys[-1].rpartition(".")[2] if keys else ""
        if isinstance(value, str) and key in _FILE_KEYS and looks_like_path(value):
            return value if key == "model" and _is_repository(value) else str(_find(value, folder, source.where(at)))
        return value

    return YamlSource(visit(source.value, ()), source.places)


def _is_repository(value: str) -> bool:
    """Tell whether a model's name with a slash in it is a known repository's, not a path."""
    from simulator.model.registry import known_name

    return known_name(value) is not None


def _find(value: str, folder: Path, where: str) -> Path:
    given = Path(value).expanduser()
    for found in (given, folder / given):
        if found.exists():
            return found.resolve()
    looked = "" if given.is_absolute() else f"; looked in the current folder and in '{folder}'"
    raise InputError(f"no such file: '{value}'{looked}", where=where)
