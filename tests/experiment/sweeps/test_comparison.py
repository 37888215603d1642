"""Replicas are summed up, compared with their base seed by seed, and told apart from chance."""

import numpy as np
import pytest

from simulator.experiment.sweeps.comparison import comparison_of


def run(variant, seed, metrics, **swept):
    sweep = {**swept, "seed": seed}
    name = " ".join([variant, *(f"{key}={value}" for key, value in sweep.items())])
    return {"name": name, "variant": variant, "sweep": sweep, "metrics": metrics}


def entry(comparison, name):
    (found,) = [point for point in comparison["points"] if point["name"] == name]
    return found


def test_a_steady_difference_is_real_though_seeds_differ_more():
    rng = np.random.default_rng(1)
    common = rng.normal(0, 10, 8)
    runs = [run(variant, seed, {"ttft": 100 + common[seed] + shift + rng.normal(0, 1)}, rate=2)
            for variant, shift in (("base", 0), ("slower", 5)) for seed in range(8)]  # fmt: skip
    slower = entry(comparison_of(runs), "slower rate=2")
    assert slower["base"] == "base rate=2"
    gap = slower["differences"]["ttft"]
    assert gap["real"] is True
    assert gap["low"] < 5 < gap["high"]
    assert gap["relative"] == pytest.approx(0.05, abs=0.02)
    base = entry(comparison_of(runs), "base rate=2")
    assert base["base"] is None and "differences" not in base
    assert base["metrics"]["ttft"]["high"] - base["metrics"]["ttft"]["low"] > 3 * (gap["high"] - gap["low"]), (
        "pairing takes out what the seeds have in common"
    )


def test_noise_around_nothing_is_not_real():
    rng = np.random.default_rng(3)
    runs = [run(variant, seed, {"ttft": rng.normal(100, 5)}) for variant in ("a", "b") for seed in range(10)]
    assert entry(comparison_of(runs), "b")["differences"]["ttft"]["real"] is False


def test_every_point_is_compared_with_the_first_variant_there():
    runs = [run(variant, seed, {"x": seed + rate}, rate=rate)
            for variant in "ab" for rate in (1, 2) for seed in range(5)]  # fmt: skip
    points = comparison_of(runs)["points"]
    assert [(point["name"], point["base"]) for point in points] == [
        ("a rate=1", None), ("a rate=2", None), ("b rate=1", "a rate=1"), ("b rate=2", "a rate=2"),
    ]  # fmt: skip
    assert points[3]["differences"]["x"] == {"mean": 0, "low": 0, "high": 0, "relative": 0, "real": False}


def test_without_variants_the_first_point_is_the_base():
    runs = [run("only", seed, {"x": rate}, rate=rate) for rate in (1, 2) for seed in range(5)]
    points = comparison_of(runs)["points"]
    assert [(point["name"], point["base"]) for point in points] == [
        ("only rate=1", None),
        ("only rate=2", "only rate=1"),
    ]
    assert points[1]["differences"]["x"]["relative"] == 1.0


def test_too_few_seeds_give_means_without_a_verdict():
    runs = [run(variant, seed, {"x": 1.0 + (variant == "b")}) for variant in "ab" for seed in range(3)]
    gap = entry(comparison_of(runs), "b")["differences"]["x"]
    assert gap == {"mean": 1.0, "low": None, "high": None, "relative": 1.0, "real": None}


def test_a_metric_that_a_replica_lacks_is_left_open():
    runs = [run(variant, seed, {"x": None if (variant, seed) == ("b", 2) else 1.0})
            for variant in "ab" for seed in range(5)]  # fmt: skip
    b = entry(comparison_of(runs), "b")
    assert b["metrics"]["x"] is None and b["differences"]["x"] is None


def test_seeds_that_only_one_has_are_not_paired():
    runs = [run("a", seed, {"x": float(seed)}) for seed in range(6)]
    runs += [run("b", seed, {"x": seed + 1.0}) for seed in range(1, 7)]
    gap = entry(comparison_of(runs), "b")["differences"]["x"]
    assert gap["mean"] == 1.0 and gap["real"] is True


def test_without_replicas_there_is_nothing_to_say():
    assert comparison_of([run("a", 0, {"x": 1.0}), run("b", 0, {"x": 2.0})]) is None
    assert comparison_of([{"name": "a", "variant": "a", "sweep": {}, "metrics": {"x": 1.0}}]) is None
    assert comparison_of([]) is None
