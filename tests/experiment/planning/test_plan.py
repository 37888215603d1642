"""A whole plan on a small world: the answer is right, says why the others are not, and survives being killed."""

import json
import shutil
from pathlib import Path

import pytest

from simulator.experiment.load import load_experiment
from simulator.experiment.planning.load_plan import load_plan
from simulator.experiment.planning.measure import Load, measure
from simulator.experiment.planning.plan import make_plan
from simulator.experiment.planning.requirements import missed
from simulator.experiment.runner import run_experiment
from simulator.experiment.sweeps.workers import Workers
from simulator.workload.build import build

ONE = Workers(1)


def without_timing(answer):
    return {key: value for key, value in answer.items() if key != "timing"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, plan_text):
    """Return the folder of a plan and its answer; nobody writes into the folder."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "small.yaml").write_text(plan_text)
    return folder / "out", make_plan(load_plan(folder / "small.yaml"), folder / "out", ONE)


@pytest.fixture
def answer(made):
    return made[1]


@pytest.fixture
def out(made, tmp_path):
    """Return a copy of the plan's folder, to go on in."""
    return Path(shutil.copytree(made[0], tmp_path / "out"))


def test_the_winner_is_the_cheapest_cluster_there_is(file, answer):
    plan = load_plan(file)
    load = Load("whole", build(plan.spec.workload, 0, plan.folder))
    cheapest = min(
        (units * each.usd_per_hour, missed(plan.requirements, measure(each.sized(units), load, ())) != [])[::-1]
        for each in plan.candidates
        for units in range(1, 13)
    )
    first = answer["candidates"][0]
    assert first["name"] == answer["winner"]
    assert (False, first["cost_per_hour"]) == cheapest
    assert first["feasible"] and first["reason"] == ""
    assert all(each["reason"] for each in answer["candidates"][1:])


def test_it_is_confirmed_and_the_next_smaller_cluster_fails(answer):
    winner, smaller = answer["confirmation"]["winner"], answer["confirmation"]["smaller"]
    assert winner["meets"] and winner["missed"] == []
    assert smaller["units"] == winner["units"] - 1
    assert not smaller["meets"]
    assert "over" in smaller["missed"][0]


def test_the_winners_yaml_runs_and_gives_the_figures_of_the_plan(answer, out, tmp_path):
    loaded = load_experiment(out / "small" / "winner.yaml")
    run = run_experiment(loaded, tmp_path / "again").summary["runs"][0]
    assert run["cluster"]["gpus"] == answer["confirmation"]["winner"]["gpus"]
    assert run["metrics"] == answer["confirmation"]["winner"]["metrics"]
    tried = answer["candidates"][0]["metrics"]
    assert {key: tried[key] for key in run["metrics"]} == run["metrics"]


def test_the_front_holds_what_nothing_beats(answer):
    def figures(each):
        return (each["cost_per_hour"], each["metrics"]["p99_ttft_ms"], each["metrics"]["p99_tpot_ms"])

    points = [figures(each) for each in answer["front"]]
    assert points
    for one in points:
        assert not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in points)
    assert min(points)[0] == answer["candidates"][0]["cost_per_hour"]


def test_started_again_it_simulates_nothing_and_says_the_same(file, answer, out):
    journal = out / "small" / "simulations.jsonl"
    before = journal.read_text()
    again = make_plan(load_plan(file), out, ONE)
    assert journal.read_text() == before
    assert without_timing(again) == without_timing(answer)
    assert again["timing"]["simulations_found"] == answer["simulations"]


def test_killed_in_the_middle_of_a_line_it_goes_on_from_there(file, answer, out):
    journal = out / "small" / "simulations.jsonl"
    whole = journal.read_text()
    cut = whole.index("\n", len(whole) // 2) + 20  # within the line that follows the middle
    journal.write_text(whole[:cut])
    kept = whole[:cut].count("\n")
    again = make_plan(load_plan(file), out, ONE)
    assert again["timing"]["simulations_found"] == kept > 3
    assert without_timing(again) == without_timing(answer)
    keys = [
        json.loads(line)["key"]
        for line in journal.read_text().splitlines()
        if line.startswith('{"key"') and line.endswith("}")
    ]
    assert len(keys) == len(set(keys)) == answer["simulations"]


def test_two_processes_say_the_same_as_one(file, answer, tmp_path):
    assert without_timing(make_plan(load_plan(file), tmp_path / "two", Workers(2))) == without_timing(answer)


def test_what_cannot_do_says_why_and_by_how_much(file, tmp_path):
    sets = [
        "model=llama-3.1-70b",
        "budget={gpus: 4, cost: 6 USD/h}",
        "space={hardware: [h100_sxm, l40s, rtx_pro_6000]}",
    ]
    answer = make_plan(load_plan(file, [*sets, "cluster.instances[*].tensor_parallel=4"]), tmp_path / "out", ONE)
    reasons = {each["name"]: each["reason"] for each in answer["candidates"]}
    assert answer["winner"] is None and answer["confirmation"] is None
    assert "beyond the budget" in reasons["h100_sxm"]
    assert "does not fit" in reasons["l40s"] or "over" in reasons["l40s"]
    assert "price is unknown" in reasons["rtx_pro_6000"]
    assert not (tmp_path / "out" / "small" / "winner.yaml").exists()


def test_a_model_too_large_for_a_gpu_does_not_fit(file, tmp_path):
    answer = make_plan(load_plan(file, ["model=llama-3.1-70b"]), tmp_path / "out", ONE)
    assert {each["reason"].split(":")[0] for each in answer["candidates"]} == {"does not fit"}
    assert all("leave no room for KV blocks" in each["reason"] for each in answer["candidates"])


def test_an_objective_that_one_request_alone_misses_is_told_from_too_small_a_budget(file, tmp_path):
    alone = make_plan(load_plan(file, ["slo={ttft: {p99: 1ms}}"]), tmp_path / "alone", ONE)
    assert all("even at" in each["reason"] and "TTFT p99" in each["reason"] for each in alone["candidates"])
    small = make_plan(load_plan(file, ["budget.gpus=1"]), tmp_path / "small", ONE)
    assert any("the most within budget: T" in each["reason"] for each in small["candidates"])


@pytest.mark.parametrize(("objective", "key"), [("gpus", "gpus"), ("power", None)])
def test_other_objectives_choose_by_themselves(file, tmp_path, objective, key):
    answer = make_plan(load_plan(file, [f"objective={objective}"]), tmp_path / "out", ONE)
    done = [each for each in answer["candidates"] if each["feasible"]]
    values = [each[key] if key else each["metrics"]["mean_power_w"] for each in done]
    assert values[0] == min(values)
    assert [each["objective"] for each in done] == pytest.approx(values)


def test_a_closed_loop_is_sized_without_a_rate(file, tmp_path):
    sets = [
        "workload.arrivals={process: closed_loop, concurrency: 40}",
        "slo={tpot: {p99: 12ms}}",
        "space.router=[random]",
    ]
    answer = make_plan(load_plan(file, sets), tmp_path / "out", ONE)
    assert answer["winner"] is not None
    assert answer["load"]["rate"] is None
    assert answer["candidates"][0]["edge"] is None
    assert answer["confirmation"]["winner"]["meets"]


def test_attainment_of_limits_for_each_request(file, tmp_path):
    answer = make_plan(load_plan(file, ["slo={ttft: 200ms, tpot: 25ms, attainment: 0.9}"]), tmp_path / "out", ONE)
    assert answer["confirmation"]["winner"]["metrics"]["slo_attainment"] >= 0.9
    assert "of requests meet their limits instead of 90.0%" in answer["confirmation"]["smaller"]["missed"][0]


@pytest.fixture
def techniques(file):
    """A plan with requests that retrieve first and are answered by several, and a choice of weights."""
    text = file.read_text().replace("rate: 60/s", "rate: 5/s").replace("requests: 700", "requests: 150")
    text = text.replace("probe: 300", "probe: 100").replace("{p99: 200ms}, tpot: {p99: 25ms}", "{p99: 2s}")
    text = text[: text.index("space:")] + (
        "techniques: [{name: rag, retrieval: 100ms}, skeleton_of_thought]\n"
        "space:\n"
        "  techniques:\n"
        "    fp16: [{name: rag, retrieval: 100ms}, skeleton_of_thought]\n"
        "    w4a16: [{name: rag, retrieval: 100ms}, skeleton_of_thought, {name: quantization, format: w4a16}]\n"
    ) + text[text.index("search:") :]  # fmt: skip
    file.write_text(text)
    return file


def test_techniques_change_what_is_planned_for_as_they_do_in_a_run(techniques, tmp_path):
    answer = make_plan(load_plan(techniques), tmp_path / "out", ONE)
    assert {each["name"] for each in answer["candidates"]} == {"fp16", "w4a16"}
    assert answer["load"]["requests"] == 150
    assert answer["load"]["rate"] == pytest.approx(5, rel=0.2)
    loaded = load_experiment(tmp_path / "out" / "small" / "winner.yaml")
    run = run_experiment(loaded, tmp_path / "again").summary["runs"][0]
    # One row a request: what follows it is part of its answer.
    assert run["workload"]["requests"] > 2 * run["metrics"]["completed"] == 300
    tried = answer["candidates"][0]["metrics"]
    assert {key: tried[key] for key in run["metrics"]} == run["metrics"]
    assert run["metrics"]["p99_ttft_ms"] > 100
