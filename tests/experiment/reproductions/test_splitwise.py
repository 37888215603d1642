"""How Splitwise's reproduction finds rates and splits."""

from dataclasses import replace

import pytest

from simulator.core import InputError
from simulator.experiment.reproductions.splitwise import Cluster, Objectives, _highest, best_rates
from simulator.experiment.reproductions.tools.batch_table import BatchTable
from simulator.experiment.reproductions.tools.reproduce import setup_of
from simulator.experiment.reproductions.tools.world import World


@pytest.fixture(scope="module")
def small():
    """Four A100 machines, one of them for prompts, and the objectives."""
    setup = setup_of("splitwise")
    table = BatchTable.model_validate(setup.costs["a100"].model_dump(by_alias=True))
    world = World(setup.worlds["a100"], table)
    cluster = Cluster((world, 1), (world, 3), setup.kv_token, setup.link, rate=1.6, step=1)
    return cluster, Objectives(setup.slowdowns, table, setup.unloaded_tpot), setup.trace


@pytest.mark.parametrize("start", [3.0, 9.9, 10.0, 40.0])
def test_the_highest_rate_is_found_from_below_within_two_percent(start):
    found = _highest(lambda rate: rate <= 10.0, start)
    assert 10.0 / 1.02 <= found <= 10.0


def test_a_cluster_that_meets_nothing_has_no_rate():
    assert _highest(lambda rate: False, 5.0) == 0.0


def test_too_few_requests_to_miss_anything_are_an_error_not_a_search_without_end():
    with pytest.raises(InputError, match="take more requests"):
        _highest(lambda rate: True, 5.0)


def test_machines_move_between_the_two_sides(small):
    cluster, *_ = small
    assert cluster.moved(-1).token_machines == 2
    assert cluster.moved(-1).prompt[1] == 2
    assert cluster.moved(-3) is None
    assert cluster.moved(1) is None


def test_a_better_split_is_found_in_its_direction(small):
    cluster, objectives, trace = small
    given, best, token = best_rates(cluster, objectives, trace, requests=80, seed=0)
    # One machine for prompts is far too few.
    assert token < 3
    assert best > 1.2 * given
    assert best_rates(replace(cluster, step=0), objectives, trace, requests=80, seed=0) == (given, given, 3)
    alone = replace(cluster.moved(token - 3), step=0, rate=best)
    assert best_rates(alone, objectives, trace, requests=80, seed=0)[0] == pytest.approx(best, rel=0.04)
