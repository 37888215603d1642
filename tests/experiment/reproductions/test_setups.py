"""Every reproduction has its two files, and each runs at the size of a quick look."""

import json

import pytest

from simulator.experiment.reproductions.tools.read_setup import folder
from simulator.experiment.reproductions.tools.registry import names
from simulator.experiment.reproductions.tools.reproduce import run_reproduction, setup_of
from simulator.experiment.reproductions.tools.runner import Runner


def test_set_ups_and_functions_come_in_pairs():
    assert names() == sorted(file.stem for file in folder().glob("*.yaml"))
    assert names()


@pytest.mark.parametrize("name", names())
def test_a_set_up_says_what_it_calibrates(name):
    setup = setup_of(name)
    stand_ins = [world for world in setup.worlds.values() if world.uncalibrated not in (None, world.cost)]
    assert not stand_ins or setup.calibrated
    assert any(target.role != "shown" for target in setup.targets.values())


@pytest.mark.parametrize("name", names())
def test_it_runs(name):
    found = run_reproduction(name, Runner(jobs=1), quick=True)
    assert found["verdict"] in ("reproduced", "shape only", "not reproduced")
    assert all(row["ours"]["values"] for row in found["rows"])
    assert found["figure"] is not None, "the paper's figure is drawn with ours"
    json.dumps(found, allow_nan=False)
