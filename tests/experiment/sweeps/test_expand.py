"""What ``sweep:`` may say and which runs come of it."""

import pytest
from support.small import SMALL

from simulator.core.errors import InputError
from simulator.experiment.load import load_experiment

BASE = (
    "seed: 3\n"
    + SMALL
    + """\
  instances: [{hardware: h100_sxm}]
"""
)


@pytest.fixture
def load(tmp_path):
    """Return a function that loads BASE with a sweep, and checks that its resolved form gives the same runs."""

    def load(sweep, *sets):
        file = tmp_path / "x.yaml"
        file.write_text(BASE + f"sweep: {sweep}\n")
        loaded = load_experiment(file, sets)
        again = tmp_path / "config.resolved.yaml"
        again.write_text(loaded.resolved())
        assert load_experiment(again).runs == loaded.runs
        return loaded.runs

    return load


def names(runs):
    return [run.name for run in runs]


def test_a_grid_may_stand_under_its_word_or_beside_the_others(load):
    named = load("{grid: {workload.arrivals.rate: [1/s, 2/s]}, seeds: [1, 2]}")
    bare = load("{workload.arrivals.rate: [1/s, 2/s], seeds: [1, 2]}")
    assert named == bare
    assert names(bare) == ["rate=1/s seed=1", "rate=1/s seed=2", "rate=2/s seed=1", "rate=2/s seed=2"]


def test_a_list_zips_values_into_points(load):
    runs = load("{list: [{workload.prompt.tokens: 10, cluster.router: random}, {workload.prompt.tokens: 20}]}")
    assert names(runs) == ["tokens=10 router=random", "tokens=20"]
    assert [run.config.cluster.router.name for run in runs] == ["random", "least_outstanding"]
    assert runs[0].sweep == {"workload.prompt.tokens": 10, "cluster.router": "random"}


def test_all_ways_are_combined(load):
    runs = load("{model: [llama-3.1-8b], list: [{workload.prompt.tokens: 10}], random: "
                "{points: 3, draw: {workload.limit: {min: 1, max: 9}}}, seeds: 2}")  # fmt: skip
    assert len(runs) == 6
    assert {tuple(run.sweep) for run in runs} == {("model", "workload.prompt.tokens", "workload.limit", "seed")}


def test_a_number_of_seeds_counts_from_the_experiments(load):
    assert [run.config.seed for run in load("{seeds: 3}")] == [3, 4, 5]
    assert [run.config.seed for run in load("{seeds: 2}", "seed=7")] == [7, 8]
    assert [run.config.seed for run in load("{seeds: [5, 1]}")] == [5, 1]


def test_random_points_stay_within_their_ranges_and_repeat_themselves(load):
    sweep = ("{random: {points: 50, seed: SEED, draw: {workload.arrivals.rate: {min: 1/s, max: 100/s, log: true}, "
             "workload.limit: {min: 2, max: 5}, cluster.router: [random, round_robin]}}}")  # fmt: skip
    runs = load(sweep.replace("SEED", "1"))
    assert runs == load(sweep.replace("SEED", "1"), "seed=9", "seed=3")
    assert runs != load(sweep.replace("SEED", "2"))
    rates = sorted(run.config.workload.arrivals.rate for run in runs)
    assert rates[0] >= 1 and rates[-1] <= 100
    assert 5 < rates[25] < 20, "half of them below the geometric mean"
    assert {run.config.workload.limit for run in runs} == {2, 3, 4, 5}
    assert {run.config.cluster.router.name for run in runs} == {"random", "round_robin"}


def test_another_drawn_key_leaves_the_others_draws_alone(load):
    one = load("{random: {points: 5, draw: {workload.arrivals.rate: {min: 1/s, max: 9/s}}}}")
    two = load("{random: {points: 5, draw: {workload.limit: {min: 1, max: 5}, "
               "workload.arrivals.rate: {min: 1/s, max: 9/s}}}}")  # fmt: skip
    rates = [[run.sweep["workload.arrivals.rate"] for run in runs] for runs in (one, two)]
    assert rates[0] == rates[1]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ("{grid: {workload.requests: []}}", "sweep.grid.workload.requests: needs at least 1 entry"),
        ("{workload.requests: 5}", "sweep.workload.requests: expected a list, not 5"),
        ("{seeds: 0}", "must be at least 1, not 0"),
        ("{seeds: 2, seed: [1, 2]}", "'seed' is swept twice"),
        ("{workload.requests: [1, 2], list: [{workload.requests: 3}]}", "'workload.requests' is swept twice"),
        ("{list: [{}]}", "needs at least 1 entry"),
        ("{list: [{name: x}]}", "a run cannot override 'name'"),
        ("{workload.reqests: [1]}", "unknown key 'reqests' (did you mean 'requests'?)"),
        ("{random: {points: 4, draw: {workload.requests: [1, 2]}}}", "there are only 2 different points to draw"),
        ("{random: {points: 4, draw: {workload.requests: {min: 5, max: 2}}}}", "'max' must be above 'min': 5 to 2"),
        ("{random: {points: 4, draw: {slo.ttft: {min: 5ms, max: 2s}}}}", "need the same unit: '5ms' to '2s'"),
        ("{random: {points: 4, draw: {slo.ttft: {min: soon, max: 2s}}}}", "needs numbers or quantities, not 'soon'"),
        ("{random: {points: 4, draw: {workload.requests: {min: 0, max: 2, log: true}}}}", "'min' must be above 0"),
        ("{random: {points: 4}}", "missing key 'draw' in 'sweep.random'"),
        ("{random: {points: 4, drow: {}, draw: {seed: [1]}}}", "unknown key 'drow' (did you mean 'draw'?)"),
        ("{seeds: 20001}", "20001 points are too many"),
    ],
)
def test_mistakes_name_their_line(load, sweep, message):
    with pytest.raises(InputError) as error:
        load(sweep)
    assert message in str(error.value)
    assert "x.yaml:10:" in str(error.value)
