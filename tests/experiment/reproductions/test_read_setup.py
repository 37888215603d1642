"""A set-up's mistakes are errors with the line a person should open."""

import pytest
from support.reproductions import SETUP

from simulator.core import InputError
from simulator.core.yaml_source import dump_yaml
from simulator.cost.published_fit import AffineFit, TableFit
from simulator.experiment.reproductions.tools.read_setup import read_setup, shared_costs
from simulator.experiment.reproductions.tools.setup import Setup


def written(tmp_path, old="", new="", **changes):
    text = dump_yaml(SETUP | changes)
    assert old in text
    file = tmp_path / "small.yaml"
    file.write_text(text.replace(old, new, 1) if old else text)
    return file


def line_of(file, text):
    return next(number for number, line in enumerate(file.read_text().splitlines(), 1) if text in line)


def test_a_good_one_reads(tmp_path):
    setup = read_setup(written(tmp_path), Setup)
    assert setup.seeds == [0, 1, 2]
    assert setup.world("only").spec.scheduler.name == "vllm"


@pytest.mark.parametrize(
    ("old", "new", "said", "line"),
    [
        ("requests: 20", "request: 20", "unknown key 'request'.*did you mean 'requests'", "request: 20"),
        ("within: 10%", "whithin: 10%", "unknown key 'whithin'.*did you mean 'within'", "whithin"),
        ("base: 10ms", "base: 10", "has no unit", "base: 10"),
        ("scheduler: vllm", "scheduler: vllmm", "unknown scheduler 'vllmm'.*did you mean 'vllm'", "vllmm"),
        ("cost: plain", "cost: plan", "no cost is named 'plan'.*did you mean 'plain'", None),
        ("- ours", "- memory", "read_in", "- memory"),
        ("seeds: 3", "seeds: 0", "seeds", "seeds: 0"),
        ("requests: 20", "requests: many", "requests", "requests: many"),
    ],
)
def test_a_mistake_has_its_place(tmp_path, old, new, said, line):
    file = written(tmp_path, old, new)
    with pytest.raises(InputError, match=said) as error:
        read_setup(file, Setup)
    number = line_of(file, line) if line else 1
    assert error.value.where.startswith(f"{file}:{number}:")


def test_a_cost_like_another_changes_what_it_names(tmp_path):
    costs = {
        "plain": SETUP["costs"]["plain"],
        "slow": {"like": "plain", "scale": {"prefill": 2.0}},
        "shared": "yi-34b-tp2-a100-sarathi",
        "faster": {"like": "shared", "scale": {"decode": 0.5}},
    }
    setup = read_setup(written(tmp_path, costs=costs), Setup)
    assert isinstance(setup.costs["slow"], AffineFit)
    assert setup.costs["slow"].prefill([(0, 100)], 0) == 2 * setup.costs["plain"].prefill([(0, 100)], 0)
    assert isinstance(setup.costs["shared"], TableFit)
    assert setup.costs["shared"].source == shared_costs()["yi-34b-tp2-a100-sarathi"]["source"]
    assert setup.costs["faster"].decode(8) == 0.5 * setup.costs["shared"].decode(8)


@pytest.mark.parametrize("entry", ["opt-13b-tp1-a100-vlm", {"like": "opt-13b-tp1-a100-vlm"}])
def test_an_unknown_cost_is_an_error_with_a_suggestion(tmp_path, entry):
    file = written(tmp_path, costs={"plain": entry})
    with pytest.raises(InputError, match="did you mean 'opt-13b-tp1-a100-vllm'") as error:
        read_setup(file, Setup)
    assert error.value.where.startswith(f"{file}:{line_of(file, 'opt-13b')}:")


def test_a_world_without_uncalibrated_costs_is_the_same_either_way(tmp_path):
    setup = read_setup(written(tmp_path), Setup)
    assert setup.world("only", calibrated=False) == setup.world("only")
    costs = {"plain": SETUP["costs"]["plain"], "raw": {"like": "plain", "stages": 2}}
    worlds = {"only": SETUP["worlds"]["only"] | {"uncalibrated": "raw"}}
    setup = read_setup(written(tmp_path, costs=costs, worlds=worlds), Setup)
    assert setup.world("only", calibrated=False).cost.stages == 2
    assert setup.world("only").cost.stages == 1


def test_a_world_like_another_changes_what_it_names(tmp_path):
    worlds = {"only": SETUP["worlds"]["only"], "two": {"like": "only", "instances": 2}}
    setup = read_setup(written(tmp_path, worlds=worlds), Setup)
    assert setup.worlds["two"] == setup.worlds["only"].model_copy(update={"instances": 2})
    file = written(tmp_path, worlds=worlds | {"three": {"like": "onli"}})
    with pytest.raises(InputError, match=r"unknown world 'onli'.*did you mean 'only'") as error:
        read_setup(file, Setup)
    assert error.value.where.startswith(f"{file}:{line_of(file, 'onli')}:")
