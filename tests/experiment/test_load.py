"""An experiment file becomes the runs it describes, and its resolved form becomes the same runs again."""

import shutil

import pytest
from support.small import SMALL

from simulator.core.errors import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.named import Named

BASE = (
    SMALL
    + """\
  instances: [{hardware: h100_sxm}]
"""
)
TRACE = """\
workload: {trace: data/trace.csv, limit: 5}
model: llama-3.1-8b
cluster: {instances: [{hardware: h100_sxm}]}
"""


@pytest.fixture
def load(tmp_path):
    """Return a function that loads an experiment's text, and checks that its resolved form loads to the same runs."""

    def load(text, *sets, name="my-test.yaml"):
        file = tmp_path / name
        file.write_text(text)
        loaded = load_experiment(file, sets)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir(exist_ok=True)
        again = elsewhere / "config.resolved.yaml"
        again.write_text(loaded.resolved())
        reloaded = load_experiment(again)
        assert reloaded.name == loaded.name
        assert reloaded.runs == loaded.runs
        assert reloaded.resolved() == loaded.resolved()
        return loaded

    return load


def test_defaults(load):
    loaded = load(BASE)
    assert loaded.name == "my-test"
    (run,) = loaded.runs
    assert (run.name, run.variant, run.sweep) == ("my-test", "my-test", {})
    config = run.config
    assert (config.seed, config.cluster.router, config.slo.ttft) == (0, Named(name="least_outstanding"), None)
    (instance,) = config.cluster.instances
    assert (instance.count, instance.tensor_parallel, instance.block_size) == (1, 1, "auto")
    assert (instance.kv_blocks, instance.max_model_len) == ("auto", "auto")
    assert (instance.gpu_memory_utilization, instance.prefix_caching) == ("auto", True)
    assert instance.scheduler == Named(name="vllm")


def test_a_name_that_makes_a_folder(load):
    assert load(BASE, name="two words (1).yaml").name == "two-words-1-"
    assert load("name: Chosen\n" + BASE).name == "Chosen"


def test_policies_take_parameters(load):
    text = BASE.replace("{hardware: h100_sxm}", "{hardware: h100_sxm, scheduler: {name: vllm, max_num_seqs: 8}}")
    config = load(text, "cluster.instances[0].scheduler.policy=priority").runs[0].config
    assert config.cluster.instances[0].scheduler == Named(name="vllm", params={"max_num_seqs": 8, "policy": "priority"})


def test_a_policy_without_a_name_is_the_default_one(load):
    config = load(BASE, "cluster.instances[*].scheduler.max_num_seqs=8").runs[0].config
    assert config.cluster.instances[0].scheduler == Named(name="vllm", params={"max_num_seqs": 8})


def test_variants_override_the_base(load):
    loaded = load(BASE + "compare: {one: {}, two: {cluster.router: random, slo.ttft: 1s}}\nslo: {tpot: 50ms}\n")
    assert [run.name for run in loaded.runs] == ["one", "two"]
    one, two = (run.config for run in loaded.runs)
    assert (one.cluster.router.name, one.slo.ttft, one.slo.tpot) == ("least_outstanding", None, 0.05)
    assert (two.cluster.router.name, two.slo.ttft, two.slo.tpot) == ("random", 1.0, 0.05)
    assert (one.seed, one.workload) == (two.seed, two.workload), "they share arrivals"


def test_a_variant_may_switch_generators(load):
    text = BASE.replace("{process: poisson, rate: 5/s}", "{process: gamma, rate: 5/s, cv: 2.0}")
    loaded = load(text + "compare: {bursty: {}, even: {workload.arrivals: {process: constant, rate: 5/s}}}\n")
    assert [run.config.workload.arrivals.process for run in loaded.runs] == ["gamma", "constant"]


def test_set_changes_the_base_and_a_variant_wins(load):
    text = BASE + "compare: {one: {}, two: {cluster.router: random}}\n"
    loaded = load(text, "cluster.router=round_robin", "seed=7")
    assert [run.config.cluster.router.name for run in loaded.runs] == ["round_robin", "random"]
    assert [run.config.seed for run in loaded.runs] == [7, 7]


def test_a_later_set_wins(load):
    assert load(BASE, "seed=1", "seed=2").runs[0].config.seed == 2


def test_an_empty_section_is_its_default(load):
    assert len(load(BASE + "compare:\nsweep:\nslo:\n").runs) == 1
    assert [run.name for run in load(BASE + "compare:\n  one:\n  two:\n").runs] == ["one", "two"]


def test_a_sweep_is_a_grid_of_every_variant(load):
    text = BASE + (
        "compare: {a: {}, b: {cluster.router: random}}\n"
        "sweep: {workload.arrivals.rate: [1/s, 2/s], 'cluster.instances[*].count': [1, 2]}\n"
    )
    runs = load(text).runs
    assert [run.name for run in runs] == [
        f"{variant} rate={rate} count={count}" for variant in "ab" for rate in ("1/s", "2/s") for count in (1, 2)
    ]
    assert runs[5].variant == "b"
    assert runs[5].sweep == {"workload.arrivals.rate": "1/s", "cluster.instances[*].count": 2}
    assert (runs[5].config.workload.arrivals.rate, runs[5].config.cluster.instances[0].count) == (1.0, 2)


def test_swept_paths_that_end_alike_are_named_in_full(load):
    text = BASE + "sweep: {workload.prompt.tokens: [1], workload.output.tokens: [2]}\n"
    assert [run.name for run in load(text).runs] == ["workload.prompt.tokens=1 workload.output.tokens=2"]


def test_a_path_is_found_from_the_current_folder_first(load, tmp_path, monkeypatch):
    here = tmp_path / "here"
    for folder in (here / "data", tmp_path / "data"):
        folder.mkdir(parents=True)
        (folder / "trace.csv").write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:00:00.0000000,10,5\n")
    monkeypatch.chdir(here)
    assert load(TRACE).runs[0].config.workload.trace == str(here / "data" / "trace.csv")
    shutil.rmtree(here / "data")
    assert load(TRACE).runs[0].config.workload.trace == str(tmp_path / "data" / "trace.csv")
    shutil.rmtree(tmp_path / "data")
    with pytest.raises(InputError, match=r"no such file: 'data/trace\.csv'; looked in the current folder and in"):
        load(TRACE)


def test_setting_the_trace_keeps_the_other_keys(load, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "trace.csv").write_text("")
    workload = load(TRACE, f"workload.trace={other}").runs[0].config.workload
    assert (workload.trace, workload.limit) == (str(other), 5)


def test_a_trace_by_name_is_left_alone(load):
    assert load(TRACE.replace("data/trace.csv", "azure_conv_2023")).runs[0].config.workload.trace == "azure_conv_2023"


def test_errors_by_key_path_are_located(load):
    loaded = load(BASE)
    located = loaded.locate(InputError("too many", where="workload.requests", hint="fewer"))
    assert str(located).endswith("my-test.yaml:5:13: too many (fewer)")
    elsewhere = InputError("bad row", where="trace.csv:7")
    assert loaded.locate(elsewhere) is elsewhere


def test_priorities_are_written_as_yaml_writes_them(load):
    priorities = "  priorities: {0: 3, 1: 1}\n"
    loaded = load(BASE.replace("  requests: 20\n", "  requests: 20\n" + priorities))
    assert loaded.runs[0].config.workload.priorities == {0: 3, 1: 1}


@pytest.mark.parametrize("key", ["urgent", "1.5", "''"])
def test_a_priority_is_a_whole_number(load, key):
    with pytest.raises(InputError, match=r"my-test.yaml:6:\d+: .*whole number"):
        load(BASE.replace("  requests: 20\n", f"  requests: 20\n  priorities: {{{key}: 3}}\n"))
