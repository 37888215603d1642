"""Results come in order, from all cores, and once: what was simulated before a kill is not simulated again."""

import pytest
from support.reproductions import FIT, WORLD, square

from simulator.cost.published_fit import AffineFit
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.world import World, WorldSpec


def base_of(world):
    return world.cost.decode(1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order(jobs):
    heard = []
    runner = Runner(jobs=jobs, progress=lambda done, total: heard.append((done, total)))
    assert runner.map(square, [(value,) for value in range(9)]) == [value * value for value in range(9)]
    assert heard == [(done, 9) for done in range(10)]


def test_a_killed_command_goes_on_where_it_was(tmp_path):
    log, cache = str(tmp_path / "log"), tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        Runner(jobs=1, cache=cache).map(square, [(1, log), (2, log), (13, log), (4, log)])
    assert Runner(jobs=1, cache=cache).map(square, [(1, log), (2, log), (3, log)]) == [1, 4, 9]
    assert (tmp_path / "log").read_text().split() == ["1", "2", "13", "3"]


def test_a_fresh_run_replaces_what_was_kept(tmp_path):
    log, cache = str(tmp_path / "log"), tmp_path / "cache"
    for fresh in (False, False, True):
        assert Runner(jobs=1, cache=cache, fresh=fresh).map(square, [(5, log)]) == [25]
    assert (tmp_path / "log").read_text().split() == ["5", "5"]


def test_a_damaged_result_is_worked_out_again(tmp_path):
    assert Runner(jobs=1, cache=tmp_path).map(square, [(6,)]) == [36]
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\x80")
    assert Runner(jobs=1, cache=tmp_path).map(square, [(6,)]) == [36]


def test_worlds_that_differ_anywhere_have_results_of_their_own(tmp_path):
    runner, spec = Runner(jobs=1, cache=tmp_path), WorldSpec.model_validate(WORLD)
    fits = [AffineFit.model_validate(FIT | {"scale": {"decode_base": scale}}) for scale in (1.0, 1.5)]
    worlds = [World(spec, fit) for fit in fits]
    assert runner.map(base_of, [(world,) for world in worlds]) == [0.01, 0.015]
    assert runner.map(base_of, [(world,) for world in worlds[::-1]]) == [0.015, 0.01]
    policies = [spec, spec.model_copy(update={"scheduler": WorldSpec.model_validate(
        WORLD | {"scheduler": {"name": "vllm", "max_num_seqs": 2}}).scheduler})]  # fmt: skip
    runner.map(base_of, [(World(policy, fits[0]),) for policy in policies])
    assert len(list(tmp_path.iterdir())) == 3


def test_new_data_makes_new_results(tmp_path):
    log, cache, data = str(tmp_path / "log"), tmp_path / "cache", tmp_path / "data"
    data.mkdir()
    for folder in (None, data):
        Runner(jobs=1, cache=cache, data=folder).map(square, [(7, log)])
    assert (tmp_path / "log").read_text().split() == ["7"]
    (data / "lengths.csv").write_text("a,b\n1,2\n")
    Runner(jobs=1, cache=cache, data=data).map(square, [(7, log)])
    assert (tmp_path / "log").read_text().split() == ["7", "7"]
