"""Clusters of several models as YAML names them: what goes where, what the results say of it, and what is refused."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from simulator.core import InputError
from simulator.core.data import data_dir
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment
from simulator.experiment.sweeps.sweep import Sweep
from simulator.experiment.sweeps.workers import Workers
from simulator.model import load_model
from simulator.report.pages.findings import findings_of
from simulator.report.pages.run_page import run_page
from simulator.report.results import read_results
from simulator.report.timeline import timeline_of

LOAD = """\
  arrivals: {process: poisson, rate: 20/s}
  prompt: {distribution: uniform, min: 20, max: 500}
  output: {distribution: uniform, min: 2, max: 100}
  requests: 100
"""
MODEL = "model: llama-3.1-8b\n"
TWO = """\
cluster:
  instances:
    - {count: 2, hardware: h100_sxm}
    - {hardware: h100_sxm, model: qwen2.5-32b}
"""
SHARES = "  models: {llama-3.1-8b: 0.7, qwen2.5-32b: 0.3}\n"
EXPERIMENT = "workload:\n" + LOAD + SHARES + MODEL + TWO


def results(tmp_path: Path, text: str):
    """Return the runs of an experiment's summary and the rows of its requests."""
    file = tmp_path / "models.yaml"
    file.write_text(text)
    run_experiment(load_experiment(file), tmp_path / "out")
    folder = tmp_path / "out" / "models"
    runs = json.loads((folder / "summary.json").read_text())["runs"]
    return runs, pq.read_table(folder / "requests.parquet").to_pylist()


def refused(tmp_path: Path, text: str) -> InputError:
    """Return why an experiment cannot be, with its place in the file."""
    file = tmp_path / "models.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        loaded = load_experiment(file)
        try:
            run_experiment(loaded, tmp_path / "out")
        except InputError as error:
            raise loaded.locate(error) from None
    return caught.value


def test_requests_go_to_instances_of_the_model_that_they_ask_for(tmp_path):
    (run,), rows = results(tmp_path, EXPERIMENT)
    assert [kind["model"] for kind in run["cluster"]["kinds"]] == ["llama-3.1-8b", "qwen2.5-32b"]
    assert {(row["model"], row["instance"]) for row in rows} == {
        ("llama-3.1-8b", 0), ("llama-3.1-8b", 1), ("qwen2.5-32b", 2),
    }  # fmt: skip
    large = sum(row["model"] == "qwen2.5-32b" for row in rows)
    assert 15 < large < 45  # 30 of 100, within three standard deviations
    by_model = run["by_model"]
    assert [each["completed"] for each in by_model.values()] == [100 - large, large]
    for name, metrics in by_model.items():
        tokens = sum(row["output_tokens"] for row in rows if row["model"] == name)
        assert metrics["output_throughput"] * metrics["duration_s"] == pytest.approx(tokens)
    gaps = [each["mean_itl_ms"] for each in by_model.values()]
    assert gaps[0] < run["metrics"]["mean_itl_ms"] < gaps[1]


def test_shares_move_no_arrival_and_no_length(tmp_path):
    _, rows = results(tmp_path, EXPERIMENT)
    _, plain = results(tmp_path, EXPERIMENT.replace(SHARES, "").replace(", model: qwen2.5-32b", ""))
    asked = ("arrival_s", "prompt_tokens", "output_tokens")
    assert [[row[name] for name in asked] for row in rows] == [[row[name] for name in asked] for row in plain]
    assert "model" not in plain[0]


def test_the_report_shows_each_models_figures(tmp_path):
    results(tmp_path, EXPERIMENT)
    found = read_results(tmp_path / "out" / "models")
    page = run_page(found, findings_of(found.tables))
    assert "llama-3.1-8b and qwen2.5-32b: " in page and ">By model<" in page
    assert "models: qwen2.5-32b</th>" in page and "1 x qwen2.5-32b on h100_sxm" in page
    assert timeline_of(found.tables[0]).names == ("0: llama-3.1-8b", "1: llama-3.1-8b", "2: qwen2.5-32b")


def test_a_trace_may_say_which_model_each_request_is_for(tmp_path):
    repository = "meta-llama/Llama-3.1-8B-Instruct"  # the same model by the name of its repository
    lines = ["arrival_s,prompt_tokens,output_tokens,Model"]
    lines += [f"{n / 10},100,20,{('llama-3.1-8b', repository, 'qwen2.5-32b')[n % 3]}" for n in range(30)]
    (tmp_path / "mixed.csv").write_text("\n".join(lines))
    (run,), rows = results(tmp_path, "workload: {trace: mixed.csv}\n" + MODEL + TWO)
    assert [row["model"] for row in rows] == ["llama-3.1-8b", "llama-3.1-8b", "qwen2.5-32b"] * 10
    assert {row["instance"] for row in rows if row["model"] == "qwen2.5-32b"} == {2}
    # Nobody asks for the large model in the first two requests, and the results say so.
    (run,), rows = results(tmp_path, "workload: {trace: mixed.csv, limit: 2}\n" + MODEL + TWO)
    notes = [found.get("notes") for found in run["coverage"].values()]
    assert notes == [None, ["no request of the workload asks for qwen2.5-32b"]]
    # Where all instances serve one model, that is what everybody gets.
    single = "workload: {trace: mixed.csv}\n" + MODEL + "cluster: {instances: [{hardware: h100_sxm}]}\n"
    (run,), rows = results(tmp_path, single)
    assert run["metrics"]["completed"] == 30 and "model" not in rows[0] and "model" not in run["cluster"]["kinds"][0]


def test_a_config_of_ones_own_is_called_by_its_folder(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": 2048, "num_hidden_layers": 16,
              "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192, "vocab_size": 128256,
              "max_position_embeddings": 8192, "torch_dtype": "bfloat16", "model_type": "llama"}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    text = EXPERIMENT.replace("qwen2.5-32b: 0.3", "mine: 0.3").replace("model: qwen2.5-32b", "model: mine/config.json")
    _, rows = results(tmp_path, text)
    assert {row["model"] for row in rows} == {"llama-3.1-8b", "mine"}
    other = tmp_path / "other" / "mine"
    shutil.copytree(folder, other)
    (other / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 8}))
    error = refused(tmp_path, text + "    - {hardware: h100_sxm, model: other/mine/config.json}\n")
    assert "two different models are called 'mine'" in error.message and "rename one" in error.hint


def test_kv_travels_with_the_bytes_of_its_model(tmp_path):
    roles = """\
cluster:
  instances:
    - {hardware: h100_sxm, role: prefill}
    - {hardware: h100_sxm, model: qwen2.5-32b, role: prefill}
    - {hardware: h100_sxm, model: qwen2.5-32b, role: decode}
    - {hardware: h100_sxm, role: decode}
"""
    (run,), rows = results(tmp_path, "workload:\n" + LOAD + SHARES + MODEL + roles)
    moves = pq.read_table(tmp_path / "out/models/moves.parquet").to_pylist()
    assert len(moves) == run["metrics"]["kv_transfers"] == 100
    for move in moves:
        row = rows[move["request"]]
        assert move["bytes"] == load_model(row["model"]).kv_bytes_per_token() * row["prompt_tokens"]
        assert (move["source"], move["target"]) == ((0, 3) if row["model"] == "llama-3.1-8b" else (1, 2))


def test_one_model_may_be_disaggregated_and_the_other_not(tmp_path):
    roles = TWO.replace("{count: 2, hardware: h100_sxm}", "{hardware: h100_sxm}").replace("model: qwen2.5-32b}",
        "model: qwen2.5-32b, role: prefill}\n    - {hardware: h100_sxm, model: qwen2.5-32b, role: decode}")  # fmt: skip
    (run,), rows = results(tmp_path, "workload:\n" + LOAD + SHARES + MODEL + roles)
    assert run["metrics"]["kv_transfers"] == sum(row["model"] == "qwen2.5-32b" for row in rows) > 0


def test_gpus_are_paid_while_they_are_up_in_each_models_fleet(tmp_path):
    scaled = "  autoscaling: {policy: queue, startup: 1s, calm: 5s}\n"
    (run,), _ = results(tmp_path, EXPERIMENT + scaled)
    fixed = 3 * run["metrics"]["duration_s"] / 3600
    # One instance of each model is up all the time, and the second of the small one hardly ever.
    assert 2 / 3 * fixed <= run["metrics"]["gpu_hours"] < fixed


def test_runs_with_and_without_several_models_stand_in_one_table(tmp_path):
    text = (
        "workload:\n" + LOAD + MODEL + "cluster: {instances: [{count: 2, hardware: h100_sxm}]}\n"
        "compare:\n  one: {}\n"
        "  two:\n"
        "    workload.models: {llama-3.1-8b: 0.5, llama-3.2-3b: 0.5}\n"
        "    cluster.instances: [{hardware: h100_sxm}, {hardware: h100_sxm, model: llama-3.2-3b}]\n"
    )
    _, rows = results(tmp_path, text)
    assert {(row["run"], row["model"]) for row in rows} == {
        ("one", None), ("two", "llama-3.1-8b"), ("two", "llama-3.2-3b"),
    }  # fmt: skip
    loaded = load_experiment(tmp_path / "models.yaml")
    Sweep(loaded, tmp_path / "swept").run(Workers(1))
    assert pq.read_table(tmp_path / "swept/models/requests.parquet").to_pylist() == rows


@pytest.mark.parametrize(
    ("old", "new", "place", "message", "hint"),
    [
        (SHARES, "", ":9:", "nothing that sends requests there", "workload.models: {NAME: SHARE, ...}"),
        (
            "qwen2.5-32b: 0.3",
            "qwen2.5-14b: 0.3",
            ":6:",
            "no instance serves the model 'qwen2.5-14b'",
            "the instances serve llama",
        ),
        ("qwen2.5-32b: 0.3", "qwen2.5-32b: 0.2", ":6:", "the shares add up to 0.9, not to 1", None),
        ("0.7, qwen2.5-32b: 0.3", "1.2, qwen2.5-32b: -0.2", ":6:", "must be at", None),
        ("0.7, qwen2.5-32b: 0.3", "1", ":6:", "instances serve 'qwen2.5-32b', and no request asks for it", "be 0"),
        (MODEL, MODEL + "techniques: [{name: cascade, escalate: 0.5}]\n", ":8:", "a cascade decides", None),
    ],
)
def test_mistakes_name_their_line(tmp_path, old, new, place, message, hint):
    error = refused(tmp_path, EXPERIMENT.replace(old, new))
    assert message in error.message
    assert place in error.where
    assert hint is None or hint in error.hint


@pytest.mark.parametrize(
    ("entry", "sections", "message"),
    [
        ("role: prefill", "", "instances of qwen2.5-32b: disaggregation needs prefill and decode instances"),
        ("scheduler: sjf", "  migration: {}\n", "instances of qwen2.5-32b: scheduler 'sjf' cannot go on"),
        ("count: 2", "  spot: {nodes: 1, shapes: [[1, 1]], storage: 1GB/s}\n", "spot nodes with several models"),
        ("count: 2", "  autoscaling: {policy: queue, startup: 1s, min: 3}\n", "instances of llama-3.1-8b: min 3"),
        ("count: 2", "  faults: {events: [{kind: crash, instance: 7, at: 1s}]}\n", "there is no instance 7"),
    ],
)
def test_what_a_model_cannot_have_is_refused_with_its_name(tmp_path, entry, sections, message):
    text = EXPERIMENT.replace("model: qwen2.5-32b}", f"model: qwen2.5-32b, {entry}}}") + sections
    assert message in refused(tmp_path, text).message


def test_a_model_with_a_share_of_nothing_may_idle(tmp_path):
    (run,), rows = results(tmp_path, EXPERIMENT.replace("0.7, qwen2.5-32b: 0.3", "1, qwen2.5-32b: 0"))
    assert {row["model"] for row in rows} == {"llama-3.1-8b"}
    assert run["metrics"]["completed"] == 100


def test_the_comparison_asks_for_what_its_instances_serve():
    loaded = load_experiment(data_dir("experiments") / "compare" / "multi_model.yaml")
    for run in loaded.runs:
        served = {spec.model or run.config.model for spec in run.config.cluster.instances}
        assert served == set(run.config.workload.models)
        assert sum(spec.count * spec.tensor_parallel for spec in run.config.cluster.instances) == 8
