"""An experiment's techniques, applied one after the other to each part of it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from simulator.cluster.front import Front
from simulator.cluster.router import Router
from simulator.core import InputError, Streams
from simulator.cost.base import CostModel
from simulator.cost.kv_memory import Held
from simulator.cost.terms import Terms
from simulator.engine.kv_pool import KVPool
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.hardware.engine_profile import Build, EngineProfile
from simulator.hardware.profile import Profile
from simulator.model import Transformer
from simulator.workload.build import build
from simulator.workload.table import Workload

T = TypeVar("T")


class Stack:
    """The techniques of an experiment, in their order; InputErrors name the one that cannot be (``techniques[1]``)."""

    def __init__(self, config: Experiment) -> None:
        self._config = config
        self._names = [choice.name for choice in config.techniques]
        self._all: list[Technique] = []
        for index, choice in enumerate(config.techniques):
            with _at(index):
                made = TECHNIQUES.make(choice.name, choice.params)
                _check_exclusive(choice.name, made, self._names[:index], self._all)
                made.check(config, tuple(self._all))
            self._all.append(made)

    def workload(self, workload: Workload) -> Workload:
        """Return the requests as they reach the cluster; each technique draws from its own random stream."""

        def change(each: Technique, index: int, value: Workload) -> Workload:
            name = self._names[index]
            changed = each.workload(value, self._config, Streams(self._config.seed).get(f"technique {name}"))
            # Its source would otherwise vouch for requests that are no longer those it tells of.
            return value if changed is value else replace(changed, source=f"{changed.source}; changed by {name}")

        return self._fold(change, workload)

    @property
    def has_tiers(self) -> bool:
        """Whether a technique sends requests to instances with a model of their own."""
        return any(each.has_tiers for each in self._all)

    def config(self, config: Experiment) -> Experiment:
        """Return the experiment with the instances' settings changed."""
        if not self._all:
            return config
        instances = tuple(
            self._fold(lambda each, _, value: each.instance(value), spec) for spec in config.cluster.instances
        )
        return config.model_copy(update={"cluster": config.cluster.model_copy(update={"instances": instances})})

    def model(self, model: Transformer) -> Transformer:
        """Return the model's shape."""
        return self._fold(lambda each, _, value: each.model(value), model)

    def build(self, build: Build, engine: EngineProfile) -> Build:
        """Return the engine's build."""
        return self._fold(lambda each, _, value: each.build(value, engine), build)

    def profile(self, profile: Profile) -> Profile:
        """Return the GPU's profile."""
        return self._fold(lambda each, _, value: each.profile(value), profile)

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return what kernels take."""
        return self._fold(lambda each, _, value: each.terms(value, parts), terms)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return what memory is taken."""
        return self._fold(lambda each, _, value: each.memory(value, parts), held)

    def pool(self, pool: KVPool, parts: Parts) -> KVPool:
        """Return an instance's KV blocks."""
        return self._fold(lambda each, _, value: each.pool(value, parts), pool)

    def router(self, router: Router | Front, config: Experiment) -> Router | Front:
        """Return what stands before the instances."""
        return self._fold(lambda each, _, value: each.router(value, config), router)

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return what iterations take."""
        return self._fold(lambda each, _, value: each.cost(value, parts), cost)

    def _fold(self, change: Callable[[Technique, int, T], T], value: T) -> T:
        for index, each in enumerate(self._all):
            with _at(index):
                value = change(each, index, value)
        return value


def workload_of(config: Experiment, folder: Path) -> Workload:
    """Return an experiment's requests, techniques applied; relative paths are found from ``folder``."""
    return Stack(config).workload(build(config.workload, config.seed, folder))


@contextmanager
def _at(index: int) -> Iterator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(error.message, where=error.where or f"techniques[{index}]", hint=error.hint) from None


def _check_exclusive(name: str, made: Technique, names: Sequence[str], before: Sequence[Technique]) -> None:
    for earlier, other in zip(names, before, strict=True):
        if name == earlier:
            raise InputError(f"technique '{name}' is given twice", hint="keep one of them")
        if made.exclusive and made.exclusive == other.exclusive:
            raise InputError(
                f"techniques '{earlier}' and '{name}' both change the {made.exclusive}", hint="keep one of them"
            )
