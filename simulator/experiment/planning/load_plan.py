"""Read a plan's YAML, and list the clusters that it lets choose from."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from simulator.core.errors import InputError, unknown
from simulator.core.yaml_source import KeyPath, YamlSource, read_yaml
from simulator.experiment.checking import validate, validate_as
from simulator.experiment.load import check_trace, named, with_files
from simulator.experiment.overrides import override, parse_set
from simulator.experiment.planning.requirements import Requirement, request_slo, requirements
from simulator.experiment.planning.spec import PlanSpec
from simulator.experiment.schema import Experiment, InstanceSpec
from simulator.hardware.registry import known_profiles, load_profile

_SHORT = {"tensor_parallel": "tp", "pipeline_parallel": "pp"}
_EXPERIMENT = ("name", "seed", "workload", "model", "techniques", "cluster")


@dataclass(frozen=True)
class Candidate:
    """One kind of cluster: ``config`` is one unit of it, of so many ``gpus`` at so much an hour (None: unknown).

    Candidates with the same ``alike`` differ only in their router, which one instance cannot show.
    """

    name: str
    choices: dict[str, Any]
    config: Experiment
    tree: dict[str, Any]
    gpus: int
    usd_per_hour: float | None
    alike: str

    def sized(self, units: int) -> Experiment:
        """Return the experiment of so many units: every kind of instance that many times."""
        instances = tuple(
            spec.model_copy(update={"count": spec.count * units}) for spec in self.config.cluster.instances
        )
        cluster = self.config.cluster.model_copy(update={"instances": instances})
        return self.config.model_copy(update={"cluster": cluster})

    def sized_tree(self, units: int) -> dict[str, Any]:
        """Return the same as plain values, as a person would write them."""
        instances = [{**spec, "count": spec.get("count", 1) * units} for spec in self.tree["cluster"]["instances"]]
        return {**self.tree, "cluster": {**self.tree["cluster"], "instances": instances}}


@dataclass(frozen=True)
class LoadedPlan:
    """A plan ready to search; ``folder`` is where relative paths of its workload count from."""

    spec: PlanSpec
    candidates: list[Candidate]
    requirements: tuple[Requirement, ...]
    folder: Path
    source: YamlSource


def load_plan(path: Path, sets: Sequence[str] = ()) -> LoadedPlan:
    """Return the plan of a YAML file with ``--set`` overrides; InputError names the place of the first mistake."""
    source = named(read_yaml(path), path)
    for text in sets:
        key, value = parse_set(text)
        source = override(source, key, value, where=value.where())
    source = with_files(source, path.parent)
    spec = validate_as(PlanSpec, source)
    for hardware in spec.prices:
        if hardware not in known_profiles():
            raise unknown("hardware", hardware, known_profiles(), where=source.where_key(("prices", hardware)))
    found: dict[str, Candidate] = {}
    for name, choices, tree in _combinations(spec, source):
        if name in found:
            raise InputError(f"two candidates are named '{name}'", where=source.where_key(("space",)),
                             hint="write the values as a mapping, with a label for each")  # fmt: skip
        config = validate(tree)
        check_trace(config, tree, path.parent)
        found[name] = _candidate(spec, name, choices, config, tree.value)
    return LoadedPlan(spec, list(found.values()), requirements(spec.slo), path.parent, source)


def _combinations(spec: PlanSpec, source: YamlSource) -> Iterator[tuple[str, dict[str, Any], YamlSource]]:
    base = YamlSource({key: source.value[key] for key in _EXPERIMENT if key in source.value}, source.places)
    axes = [[(key, label, at) for label, at in _values(spec, key)] for key in spec.space]
    for point in product(*axes):
        tree, words, choices = base, [], {}
        for key, label, at in point:
            value = source.part(at)
            tree = override(tree, _key_path(key, source), value, where=source.where_key(("space", key)))
            choices[key] = value.value if not isinstance(spec.space[key], dict) else label
            words.append(label)
        yield " ".join(word for word in words if word) or spec.name, choices, tree


def _values(spec: PlanSpec, key: str) -> list[tuple[str, KeyPath]]:
    """Return the label and the place of each of a key's values."""
    values = spec.space[key]
    if isinstance(values, dict):
        return [(label, ("space", key, label)) for label in values]
    return [(_label(key, value), ("space", key, index)) for index, value in enumerate(values)]


def _label(key: str, value: Any) -> str:
    last = key.rpartition(".")[2]
    if isinstance(value, dict):
        rest = [f"{name}={each}" for name, each in value.items() if name != "name"]
        return " ".join([str(value.get("name", last)), *rest])
    if isinstance(value, str):
        return Path(value).stem if value.startswith("/") else value
    return f"{_SHORT[last]}{value}" if last in _SHORT else f"{last}={'none' if value is None else value}"


def _key_path(key: str, source: YamlSource) -> str:
    """Return the full path of a key of ``space``: plain keys are the router or an instance's."""
    if key == "router":
        return "cluster.router"
    if key in InstanceSpec.model_fields:
        return f"cluster.instances[*].{key}"
    if re.split(r"[.\[]", key)[0] in ("cluster", "model", "techniques"):
        return key
    known = [*InstanceSpec.model_fields, "router", "cluster", "model", "techniques"]
    raise unknown("key", key, known, where=source.where_key(("space", key)))


def _candidate(spec: PlanSpec, name: str, choices: dict[str, Any], config: Experiment, tree: Any) -> Candidate:
    instances, written = [], []
    for each, text in zip(config.cluster.instances, tree["cluster"]["instances"], strict=True):
        price = spec.prices.get(each.hardware) if each.price is None else each.price
        instances.append(each.model_copy(update={"price": price}))
        written.append(text if price is None else {**text, "price": f"{price!r}USD/h"})
    tree = {**tree, "cluster": {**tree["cluster"], "instances": written}}
    cluster = config.cluster.model_copy(update={"instances": tuple(instances)})
    config = config.model_copy(update={"cluster": cluster, "slo": request_slo(spec.slo)})
    one = sum(each.count for each in instances) == 1
    alike = cluster.model_dump_json(exclude={"router"} if one else None)
    alike = f"{config.model} {[choice.as_yaml() for choice in config.techniques]} {alike}"
    gpus = sum(_gpus(each) for each in instances)
    return Candidate(name, choices, config, tree, gpus, _price(instances), alike)


def _gpus(spec: InstanceSpec) -> int:
    return spec.count * spec.tensor_parallel * spec.pipeline_parallel


def _price(instances: Sequence[InstanceSpec]) -> float | None:
    total = 0.0
    for each in instances:
        listed = load_profile(each.hardware).price
        price = each.price or (listed.per_hour if listed is not None and listed.currency == "USD" else None)
        if price is None:
            return None
        total += _gpus(each) * price
    return total
