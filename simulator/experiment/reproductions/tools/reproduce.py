"""Run a reproduction from its files to its verdict."""

from typing import Any

from simulator.experiment.reproductions.tools.judge import judge
from simulator.experiment.reproductions.tools.read_setup import folder, read_setup
from simulator.experiment.reproductions.tools.registry import find
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup


def setup_of(name: str) -> Setup:
    """Return the set-up of a reproduction; InputError where there is none or its YAML is wrong."""
    registered = find(name)
    return read_setup(folder() / f"{name}.yaml", registered.setup)


def run_reproduction(name: str, runner: Runner, *, quick: bool = False) -> dict[str, Any]:
    """Return a reproduction's report as plain values (see ``judge``)."""
    setup = setup_of(name)
    if quick:
        setup = setup.shortened()
    return judge(name, setup, find(name).reproduce(setup, runner), quick=quick)
