"""Reproductions by name: a decorator registers a system's function and the class of its set-up."""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

from simulator.core.errors import unknown
from simulator.experiment.reproductions.tools.outcome import Outcome
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup

_PACKAGE = "simulator.experiment.reproductions"
S = TypeVar("S", bound=Setup)


class Registered(NamedTuple):
    """A system's way to its figures, and the class of its set-up."""

    setup: type[Setup]
    reproduce: Callable[[Any, Runner], Outcome]


_REGISTERED: dict[str, Registered] = {}


def reproduction(
    name: str, setup: type[S]
) -> Callable[[Callable[[S, Runner], Outcome]], Callable[[S, Runner], Outcome]]:
    """Register a function as the reproduction whose set-up is ``experiments/reproduce/<name>.yaml``."""

    def decorate(function: Callable[[S, Runner], Outcome]) -> Callable[[S, Runner], Outcome]:
        assert name not in _REGISTERED, f"reproduction '{name}' is registered twice"
        _REGISTERED[name] = Registered(setup, function)
        return function

    return decorate


def names() -> list[str]:
    """Return the names of all reproductions, sorted."""
    package = import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__, f"{_PACKAGE}."):
        if not module.ispkg:
            import_module(module.name)
    return sorted(_REGISTERED)


def find(name: str) -> Registered:
    """Return a reproduction; InputError with a suggestion when there is none of that name."""
    known = names()
    if name not in known:
        raise unknown("reproduction", name, known)
    return _REGISTERED[name]
