"""Calibration finds the constants that made the measurements, and says what it cannot find."""

import csv
import json
from pathlib import Path

import pytest

from simulator.cli.main import main
from simulator.core import InputError
from simulator.experiment.calibration.calibrate import Calibrator, with_provenance
from simulator.experiment.calibration.fit import fit_step, with_constants
from simulator.experiment.calibration.observations import Observation
from simulator.experiment.calibration.recipe import Recipe, load_recipe
from simulator.experiment.validation.point import read_points
from simulator.experiment.validation.points import simulate_point
from simulator.hardware.engine_profile import known_engines, load_engine
from simulator.hardware.save_engine import save_engine

COLUMNS = ("system", "engine", "engine_version", "model", "tp", "isl_tokens", "osl_tokens", "concurrency",
           "mean_ttft_ms", "mean_tpot_ms", "origin", "flag")  # fmt: skip
LOADS = [(256, 64, 2), (256, 64, 8), (1024, 32, 4), (128, 96, 16)]
TRUTH = {"iteration": 2.1e-3, "sequence": 6.3e-5}


def write_points(path, times, version="0.12.0", model="llama-3.1-8b"):
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for (prompt, output, clients), (ttft, tpot) in zip(LOADS, times, strict=True):
            rows.writerow(["h100_sxm", "vllm", version, model, 1, prompt, output, clients, ttft, tpot, "a client", ""])


@pytest.fixture
def measured(tmp_path):
    """Points that the shipped vLLM with other constants in its synchronous build would give."""
    engine = load_engine("vllm")
    builds = [
        build.model_copy(update={"host": build.host.model_copy(update=TRUTH)}) if build.name == "synchronous" else build
        for build in engine.builds
    ]
    save_engine(engine.model_copy(update={"builds": tuple(builds)}), tmp_path / "truth.yaml")
    write_points(tmp_path / "points.csv", [(1, 1)] * len(LOADS))
    path = str(tmp_path / "truth.yaml")
    points = read_points(tmp_path / "points.csv")
    from dataclasses import replace

    from simulator.experiment.validation.predict import predict

    times = []
    for point in points:
        client = point.client()
        found = predict(replace(point.setup(), engine=path), client.workload(0), warmups=client.warmups)
        times.append((found.ttft.mean(), found.tpot.mean()))
    write_points(tmp_path / "points.csv", times)
    return tmp_path


def recipe(*groups, free=("iteration", "sequence"), metrics=("tpot", "ttft")):
    data = [
        {"group": name, "kind": "points", "file": file, "metrics": list(metrics), "where": {"engine": "vllm"}}
        for name, file in groups
    ]
    step = {"builds": ["synchronous"], "free": list(free), "data": data}
    return Recipe.model_validate({"engine": "vllm", "steps": [step]})


def test_constants_that_made_the_measurements_are_found(measured):
    found = Calibrator(recipe(("made", "points.csv")), load_engine("vllm"), measured).fit()
    (line,) = found.steps
    assert line["constants"]["iteration"] == pytest.approx(TRUTH["iteration"], rel=0.05)
    assert line["constants"]["sequence"] == pytest.approx(TRUTH["sequence"], rel=0.1)
    assert line["error"] < 0.01 < line["error_before"]
    assert line["figures"] == 2 * len(LOADS)
    build = found.engine.named("synchronous")
    assert build.host.iteration == line["constants"]["iteration"]
    assert found.engine.named("asynchronous") == load_engine("vllm").named("asynchronous")


@pytest.mark.parametrize(("shown", "least", "most"), [(0.0005, 1.0, 1.1), (0.5, 1.015, 1.025)])
def test_a_constant_that_the_data_hardly_show_stays_near_its_start(shown, least, most):
    step = recipe(("made", "points.csv"), free=("prefill",)).steps[0]
    engine, data = load_engine("vllm"), [Observation("made", "points", None, {"tpot": 100.0})] * 4
    start = with_constants(engine, step, {"prefill": 1.0})

    def simulate(tried, data, builds):
        scale = tried.named("synchronous").host.prefill - 1
        return [{"tpot": 100 * (0.99 + shown * scale)} for _ in data]

    _, fit = fit_step(start, step, data, simulate, lambda line: None)
    assert least <= fit.constants["prefill"] <= most  # 1 % too fast: with no inertia 1.3 or 1.02


def test_a_group_left_out_has_no_say(measured):
    times = [(point.ttft, 3 * point.tpot) for point in read_points(measured / "points.csv")]
    write_points(measured / "slow.csv", times)
    calibrator = Calibrator(
        recipe(("made", "points.csv"), ("slow", "slow.csv"), metrics=("tpot",)), load_engine("vllm"), measured
    )
    without = calibrator.fit(without="slow").engine.named("synchronous").host
    assert without.iteration == pytest.approx(TRUTH["iteration"], rel=0.05)
    rows = calibrator.leave_one_out(calibrator.fit().engine)
    slow = next(row for row in rows if row["group"] == "slow")
    assert slow["held_out_bias"] < -0.5
    assert slow["held_out_mape"] >= slow["fitted_mape"]
    assert {row["metric"] for row in rows} == {"tpot"}


def test_a_step_whose_data_are_left_out_takes_what_another_step_fitted(measured):
    write_points(measured / "other.csv", [(p.ttft, 1.2 * p.tpot) for p in read_points(measured / "points.csv")])
    steps = [
        recipe((name, file), metrics=("tpot",)).steps[0].model_copy(update={"builds": (build,)})
        for build, name, file in (("synchronous", "made", "points.csv"), ("asynchronous", "other", "other.csv"))
    ]
    for order in (steps, steps[::-1]):
        both = Recipe(engine="vllm", steps=tuple(order))
        found = Calibrator(both, load_engine("vllm"), measured).fit(without="made")
        lines = {line["builds"][0]: line["constants"] for line in found.steps}
        assert lines["synchronous"] == lines["asynchronous"]
        host = found.engine.named("synchronous").host
        assert {"iteration": host.iteration, "sequence": host.sequence} == lines["asynchronous"]


def test_fitted_profiles_say_on_what(measured, tmp_path):
    found = Calibrator(recipe(("made", "points.csv")), load_engine("vllm"), measured).fit()
    save_engine(with_provenance(found, "the command"), tmp_path / "mine.yaml")
    mine = load_engine(str(tmp_path / "mine.yaml")).named("synchronous")
    assert "fitted to 8 figures of made" in mine.provenance["host"]
    assert mine.provenance["host"].endswith("the command")
    assert mine.host.sequence == found.engine.named("synchronous").host.sequence


def test_what_cannot_be_simulated_is_an_error_not_a_perfect_fit(measured):
    points = read_points(measured / "points.csv")
    write_points(measured / "points.csv", [(p.ttft, p.tpot) for p in points], model="llama-3.1-405b")
    with pytest.raises(InputError, match="does not fit"):
        Calibrator(recipe(("made", "points.csv")), load_engine("vllm"), measured).fit()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"free": ["patience"]}, "'patience' is not a constant"),
        ({"free": []}, "at least 1 item"),
        ({"data": []}, "at least 1 item"),
    ],
)
def test_a_recipe_that_makes_no_sense_is_refused(tmp_path, change, message):
    import yaml

    step = {"builds": ["synchronous"], "free": ["iteration"],
            "data": [{"group": "a", "kind": "points", "file": "a.csv", "metrics": ["tpot"]}]}  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"engine": "vllm", "steps": [step | change]}))
    with pytest.raises(InputError, match=message) as refused:
        load_recipe(str(path))
    assert str(path) in str(refused.value)


def test_no_rows_and_no_such_build_are_errors(measured):
    nobody = recipe(("made", "points.csv"))
    data = nobody.steps[0].data[0].model_copy(update={"where": {"engine": "nobody"}})
    empty = nobody.model_copy(update={"steps": (nobody.steps[0].model_copy(update={"data": (data,)}),)})
    with pytest.raises(InputError, match=r"no row of points\.csv is in group 'made'"):
        Calibrator(empty, load_engine("vllm"), measured)
    other = nobody.model_copy(update={"steps": (nobody.steps[0].model_copy(update={"builds": ("nightly",)}),)})
    with pytest.raises(InputError, match="nightly"):
        Calibrator(other, load_engine("vllm"), measured)


def test_shipped_recipes_fit_at_most_eight_constants_a_build():
    for name in known_engines():
        fitted: dict[tuple[str, str], set[str]] = {}
        for step in load_recipe(name).steps:
            for build in step.builds:
                load_engine(name).named(build)
                fitted.setdefault((build, step.side), set()).update(step.free)
        assert all(len(names) <= 8 for names in fitted.values()), fitted


def test_the_command_prints_json_and_writes_the_profile(measured, capsys):
    import yaml

    path = measured / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe(("made", "points.csv")).model_dump(mode="json")))
    args = ["calibrate", "engine", "vllm", "--data", str(measured), "--recipe", str(path), "--json"]
    with pytest.raises(SystemExit) as end:
        main([*args, "--into", str(measured / "mine.yaml"), "--leave-one-out", str(measured / "loo.json")])
    assert not end.value.code
    found = json.loads(capsys.readouterr().out)
    assert found["steps"][0]["figures"] == 8
    assert json.loads(Path(measured / "loo.json").read_text())["leave_one_out"][0]["group"] == "made"
    assert load_engine(str(measured / "mine.yaml")).named("synchronous").host.iteration > 1e-3
    assert simulate_point(read_points(measured / "points.csv")[0]).reason is None
