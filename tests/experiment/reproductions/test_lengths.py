"""Lengths have the published means or percentiles, come from the file where it is, and say which."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from simulator.core import InputError
from simulator.experiment.reproductions.tools.lengths import Lengths
from simulator.experiment.reproductions.tools.workloads import arrivals, workload

LOGNORMAL = {"kind": "lognormal", "prompt": {"mean": 161.3, "cv": 1.5}, "output": {"mean": 338, "cv": 1.0}}
PERCENTILES = {"kind": "percentiles", "prompt": {"0": 1, "50": 100, "100": 1000}, "output": {"0": 10, "100": 20}}
UNIFORM = {"kind": "uniform", "prompt": [32, 512], "output": [1, 128]}
CSV = {"kind": "csv", "file": "lengths.csv", "prompt": "in", "output": "out", "otherwise": UNIFORM}


def lengths(given, **changes):
    return TypeAdapter(Lengths).validate_python(given | changes)


def draw(given, requests=40_000, data=None, seed=1, **changes):
    return lengths(given, **changes).draw(np.random.default_rng(seed), requests, data)


def test_lognormal_means_hold_before_limits_or_after_them():
    free = draw(LOGNORMAL)
    assert free.prompt.mean() == pytest.approx(161.3, rel=0.03)
    assert free.output.mean() == pytest.approx(338, rel=0.03)
    assert free.output.std() / free.output.mean() == pytest.approx(1.0, rel=0.05)
    cut = draw(LOGNORMAL, most_tokens=2048)
    assert (cut.prompt + cut.output).max() <= 2048
    assert cut.output.mean() < 330
    exact = draw(LOGNORMAL, most_tokens=2048, exact_means=True)
    assert (exact.prompt + exact.output).max() <= 2048
    assert exact.prompt.mean() == pytest.approx(161.3, rel=0.03)
    assert exact.output.mean() == pytest.approx(338, rel=0.02)


def test_lognormal_lengths_are_clipped_and_not_drawn_again_at_their_own_bounds():
    drawn = draw(LOGNORMAL, output={"mean": 338, "cv": 1.0, "min": 40, "max": 1024})
    assert (drawn.output.min(), drawn.output.max()) == (40, 1024)
    assert (drawn.output == 1024).mean() > 0.02


def test_percentiles_are_met_and_straight_between():
    drawn = draw(PERCENTILES)
    assert np.percentile(drawn.prompt, [25, 50, 75]) == pytest.approx([50, 100, 550], rel=0.05)
    assert (drawn.output.min(), drawn.output.max()) == (10, 20)


def test_uniform_lengths_reach_both_ends():
    drawn = draw(UNIFORM)
    assert (drawn.prompt.min(), drawn.prompt.max(), drawn.output.min(), drawn.output.max()) == (32, 512, 1, 128)


def test_a_file_is_sampled_without_repeats_while_it_lasts(tmp_path):
    (tmp_path / "lengths.csv").write_text("in,out\n" + "".join(f"{n},{2 * n}\n" for n in range(1, 11)))
    assert sorted(draw(CSV, 10, str(tmp_path)).prompt) == list(range(1, 11))
    more = draw(CSV, 25, str(tmp_path))
    assert (more.output == 2 * more.prompt).all(), "a prompt keeps its output"
    assert set(np.bincount(more.prompt)[1:]) == {2, 3}


def test_rows_beyond_the_limit_are_dropped_or_shrunk(tmp_path):
    (tmp_path / "lengths.csv").write_text("in,out\n10,10\n30,10\n")
    assert draw(CSV, 4, str(tmp_path), most_tokens=20).prompt.tolist() == [10] * 4
    shrunk = draw(CSV, 2, str(tmp_path), most_tokens=20, beyond="shrink")
    assert sorted(zip(shrunk.prompt.tolist(), shrunk.output.tolist(), strict=True)) == [(10, 10), (15, 5)]
    with pytest.raises(InputError, match="no row has at most 5 tokens"):
        draw(CSV, 2, str(tmp_path), most_tokens=5)


def test_without_the_file_the_stand_in_is_drawn_and_said(tmp_path):
    given = lengths(CSV)
    expected = lengths(UNIFORM).draw(np.random.default_rng(3), 50)
    for data in (None, str(tmp_path)):
        assert (given.draw(np.random.default_rng(3), 50, data).prompt == expected.prompt).all()
        assert "not given with --data, so synthesised: lengths uniform" in given.describe(data)
    (tmp_path / "lengths.csv").write_text("in,out\n1,1\n")
    assert given.describe(str(tmp_path)) == "lengths from lengths.csv"


@pytest.mark.parametrize("text", ["in,other\n1,2\n", "in,out\n", "in,out\n1,0\n", "in,out\n1,many\n"])
def test_a_file_that_holds_no_lengths_is_an_error_with_its_name(tmp_path, text):
    (tmp_path / "lengths.csv").write_text(text)
    with pytest.raises(InputError, match=r"lengths\.csv"):
        draw(CSV, 2, str(tmp_path))


@pytest.mark.parametrize(
    "given",
    [
        UNIFORM | {"prompt": [5, 1]},
        PERCENTILES | {"output": {"0": 10, "90": 20}},
        PERCENTILES | {"output": {"0": 30, "100": 20}},
        LOGNORMAL | {"output": {"mean": 100, "cv": 0}},
    ],
)
def test_lengths_that_make_no_sense_are_refused(given):
    with pytest.raises(ValidationError):
        lengths(given)


def test_limits_that_hardly_anything_meets_end_in_an_error():
    with pytest.raises(InputError, match="hardly any request"):
        draw(UNIFORM | {"kind": "percentiles", "prompt": {"0": 50, "100": 60}, "output": {"0": 5, "100": 6}},
             10, most_tokens=20)  # fmt: skip


@pytest.mark.parametrize("cv", [0.0, 0.5, 1.0, 3.0])
def test_arrivals_have_their_rate_and_variation(cv):
    times = arrivals(np.random.default_rng(5), 50_000, 4.0, cv)
    gaps = np.diff(times)
    assert 1 / gaps.mean() == pytest.approx(4.0, rel=0.05)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.05, abs=1e-9)


def test_another_rate_brings_the_same_arrivals_closer_together():
    slow, fast = (arrivals(np.random.default_rng(5), 100, rate) for rate in (1.0, 4.0))
    assert fast * 4 == pytest.approx(slow)


def test_a_workload_holds_what_was_drawn():
    made = workload(np.array([0.5, 1.25]), draw(UNIFORM, 2), np.array([1, 0]), ("a", "b"))
    assert made.arrival_ps.tolist() == [500_000_000_000, 1_250_000_000_000]
    assert (len(made), made.clients, made.client.tolist()) == (2, ("a", "b"), [1, 0])
