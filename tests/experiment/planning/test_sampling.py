"""Optuna picks candidates: within its budget, each once, and towards the good ones."""

import sys

import pytest

from simulator.core import InputError
from simulator.experiment.planning.load_plan import load_plan
from simulator.experiment.planning.plan import make_plan
from simulator.experiment.planning.sampling import sample
from simulator.experiment.sweeps.workers import Workers


def test_it_nears_the_best_of_a_large_grid_in_few_probes():
    pytest.importorskip("optuna")
    seen = {}

    def probe(points):
        for point in points:
            assert point not in seen, "probed twice"
            seen[point] = (point[0] - 7) ** 2 + 3 * abs(point[1] - 2) + 10 * (point[2] != 1)
        return [seen[point] for point in points]

    sample([12, 10, 6], 120, 4, 0, probe)
    assert len(seen) <= 120 < 720
    assert min(seen.values()) <= 3


def test_a_small_grid_is_probed_to_its_end_at_most():
    pytest.importorskip("optuna")
    seen = []
    sample([2, 2], 100, 4, 0, lambda points: [seen.append(point) or float("inf") for point in points])
    assert len(seen) == len(set(seen)) <= 4


def test_a_plan_by_optuna_answers_from_what_it_picked(file, tmp_path):
    pytest.importorskip("optuna")
    plan = load_plan(file, ["search.method=optuna", "search.trials=2", "slo={ttft: {p99: 1s}}"])
    answer = make_plan(plan, tmp_path / "out", Workers(1))
    picked = [each for each in answer["candidates"] if each["reason"] != "not among those that Optuna picked"]
    assert 1 <= len(picked) <= 4  # two candidates that differ in their router share a probe
    assert answer["winner"] in {each["name"] for each in picked}
    assert answer["confirmation"]["winner"]["meets"]


def test_without_optuna_the_error_says_what_to_do(file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(InputError, match=r"pip install 'tokenyard\[optuna\]'"):
        make_plan(load_plan(file, ["search.method=optuna"]), tmp_path / "out", Workers(1))
