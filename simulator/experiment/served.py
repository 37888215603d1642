"""Which models a cluster serves, on which instances, and which of them each request of the workload asks for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from simulator.core import InputError
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.stack import Stack
from simulator.model.registry import known_name, load_model
from simulator.model.transformer import Transformer
from simulator.workload.table import Workload


class Served(NamedTuple):
    """A model by name, its shape with the techniques applied, and the instances that serve it."""

    name: str
    model: Transformer
    members: tuple[int, ...]


class Models(NamedTuple):
    """The models of a cluster; ``asked`` has the place in ``served`` of each number in ``Workload.model``.

    That is -1 for one that no request asks for. Without ``asked`` all instances serve the experiment's model, or a
    technique says what goes where.
    """

    served: tuple[Served, ...]
    asked: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The model of each number in ``Workload.model``, as the cluster calls it."""
        return tuple(self.served[place].name if place >= 0 else "" for place in self.asked)

    def idle(self, workload: Workload) -> set[str]:
        """Return the models that no request asks for."""
        if workload.model is None or not self.asked:
            return set()
        asked = {self.asked[number] for number in np.flatnonzero(np.bincount(workload.model)).tolist()}
        return {each.name for place, each in enumerate(self.served) if place not in asked}


def models_of(config: Experiment, techniques: Stack, workload: Workload) -> Models:
    """Return which models there are; InputError where requests ask for none of them, or say nothing of it."""
    count = sum(spec.count for spec in config.cluster.instances)
    named = any(spec.model is not None for spec in config.cluster.instances)
    if techniques.has_tiers or not (named or config.workload.models):
        model = load_model(config.model)
        return Models((Served(model.name, techniques.model(model), tuple(range(count))),))
    if config.cluster.spot is not None:
        raise InputError("spot nodes with several models", where="cluster.spot", hint="one experiment for each model")
    served = _served(config, techniques)
    if workload.model is None:
        hint = "workload.models: {NAME: SHARE, ...}, a trace with a column 'model', or the technique cascade"
        raise InputError("instances with a model of their own, and nothing that sends requests there",
                         where="cluster.instances", hint=hint)  # fmt: skip
    return Models(served, _asked(config, served, workload))


def _served(config: Experiment, techniques: Stack) -> tuple[Served, ...]:
    """Return the models that instances have, in the order of their first instance."""
    shapes: dict[str, Transformer] = {}
    members: dict[str, list[int]] = {}
    first = 0
    for position, spec in enumerate(config.cluster.instances):
        model = load_model(spec.model or config.model)
        if shapes.setdefault(model.name, model) != model:
            raise InputError(
                f"two different models are called '{model.name}'",
                where=f"cluster.instances[{position}].model",
                hint="a config.json is called by its folder: rename one",
            )
        members.setdefault(model.name, []).extend(range(first, first + spec.count))
        first += spec.count
    return tuple(Served(name, techniques.model(shapes[name]), tuple(members[name])) for name in shapes)


def _asked(config: Experiment, served: Sequence[Served], workload: Workload) -> tuple[int, ...]:
    places = {each.name: place for place, each in enumerate(served)}
    shares = config.workload.models
    requests = np.bincount(workload.model, minlength=len(workload.models)) if workload.model is not None else ()
    asked = []
    for model, count in zip(workload.models, requests, strict=True):
        asked.append(places.get(known_name(model) or model, -1))
        if asked[-1] < 0 and (count or (shares and shares[model])):
            raise InputError(
                f"no instance serves the model '{model}'" if model else "some requests name no model",
                where="workload.models" if shares else "workload.trace",
                hint=f"the instances serve {', '.join(places)}",
            )
    if shares and (idle := [each.name for place, each in enumerate(served) if place not in asked]):
        raise InputError(
            f"instances serve '{idle[0]}', and no request asks for it",
            where="workload.models",
            hint=f"give it a share, which may be 0: {{{idle[0]}: 0, ...}}",
        )
    return tuple(asked)
