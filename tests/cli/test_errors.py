"""Every mistake in an experiment or a command exits 2 with one message that names the place; none gives a traceback."""

import pytest
from support.small import SMALL

from simulator.cli.main import main

EXPERIMENT = (
    SMALL
    + """\
  instances:
    - {count: 2, hardware: h100_sxm, scheduler: vllm}
  router: least_outstanding
slo: {ttft: 500ms, tpot: 50ms}
compare:
  one: {}
  other: {"cluster.router": round_robin}
"""
)


def run(capsys, *args):
    """Return a command's exit code, stdout and stderr, run in this process through the entry point."""
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


@pytest.fixture
def refused(tmp_path, capsys):
    """Return a function that runs an experiment, which must be refused, and returns the message."""

    def refused(text, *args):
        file = tmp_path / "experiment.yaml"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        code, out, err = run(capsys, "run", file, "--out", tmp_path / "out", *args)
        assert code == 2
        assert out == ""
        assert err.count("\n") == 1, "one message"
        assert not (tmp_path / "out").exists(), "nothing is simulated"
        return err.replace(f"{tmp_path}/", "").removeprefix("Error: ").strip()

    return refused


@pytest.mark.parametrize(
    ("change", "to", "message"),
    [
        # unknown and duplicate keys
        ("model:", "modle:", "6:1: unknown key 'modle' (did you mean 'model'?)"),
        ("{count:", "{cuont:", "9:8: unknown key 'cuont' (did you mean 'count'?)"),
        ("tpot:", "tpop:", "11:20: unknown key 'tpop' (did you mean 'tpot'?)"),
        ("router:", "rooter:", "10:3: unknown key 'rooter' (did you mean 'router'?)"),
        ("rate:", "rte:", "2:32: unknown key 'rte' (did you mean 'rate'?)"),
        ("slo:", "model:", "11:1: duplicate key 'model' (it is already set on line 6)"),
        ("other:", "one:", "14:3: duplicate key 'one' (it is already set on line 13)"),
        ("model: llama-3.1-8b\n", "", "1:1: missing key 'model'"),
        (", hardware: h100_sxm", "", "9:7: missing key 'hardware' in 'cluster.instances[0]'"),
        # units
        ("500ms", "500", "11:13: slo.ttft: 500 has no unit; write a duration such as 500ms"),
        ("500ms", "500MB", "11:13: slo.ttft: 'MB' is not a unit of duration; use one of"),
        ("500ms", "soon", "11:13: slo.ttft: 'soon' is not a duration; write it such as 500ms"),
        ("5/s", "5", "2:38: workload.arrivals.rate: 5 has no unit; write a rate such as 5/s"),
        # numbers
        ("count: 2", "count: 0", "9:15: cluster.instances[0].count: must be at least 1, not 0"),
        ("count: 2", "count: -2", "9:15: cluster.instances[0].count: must be at least 1, not -2"),
        ("count: 2", "count: 2.5", "9:15: cluster.instances[0].count: expected a whole number, not 2.5"),
        ("count: 2", "count: two", "9:15: cluster.instances[0].count: expected a whole number, not 'two'"),
        ("count: 2", "count: true", "9:15: cluster.instances[0].count: expected a whole number, not true"),
        ("count: 2", "count: '2'", "9:15: cluster.instances[0].count: expected a whole number, not '2'"),
        ("count: 2", "count:", "9:14: cluster.instances[0].count: expected a whole number, not nothing"),
        ("500ms", "0ms", "11:13: slo.ttft: '0ms' must be finite and above 0"),
        ("500ms", "-1ms", "11:13: slo.ttft: '-1ms' must be finite and above 0"),
        ("500ms", ".nan", "11:13: slo.ttft: nan has no unit"),
        ("5/s", "-5/s", "2:38: workload.arrivals.rate: '-5/s' must be finite and above 0"),
        (
            "count: 2",
            "gpu_memory_utilization: .nan",
            "9:32: cluster.instances[0].gpu_memory_utilization: expected a finite number, not nan",
        ),
        (
            "count: 2",
            "gpu_memory_utilization: .inf",
            "9:32: cluster.instances[0].gpu_memory_utilization: expected a finite number, not inf",
        ),
        (
            "count: 2",
            "gpu_memory_utilization: 1.5",
            "9:32: cluster.instances[0].gpu_memory_utilization: must be at most 1, not 1.5",
        ),
        (
            "count: 2",
            "kv_blocks: many",
            "9:19: cluster.instances[0].kv_blocks: must be a whole number above 0 or 'auto', not 'many'",
        ),
        ("requests: 20", "requests: 20\n  rate_scale: .inf", "6:15: workload.rate_scale: expected a finite number"),
        # combinations that make no sense
        (
            "{process: poisson, rate: 5/s}",
            "{process: closed_loop, concurrency: 4}\n  rate_scale: 2.0",
            "2:3: workload: a closed loop has no arrival times for 'rate_scale' to act on: give 'requests'",
        ),
        ("  requests: 20", "  trace: azure_conv_2023", "2:3: workload: 'trace' and 'arrivals' exclude each other"),
        # names
        ("llama-3.1-8b", "lama-3.1-8b", "6:8: model: unknown model 'lama-3.1-8b' (did you mean 'llama-3.1-8b'?)"),
        (
            "h100_sxm",
            "h100_sxn",
            "9:28: cluster.instances[0].hardware: unknown hardware 'h100_sxn' (did you mean 'h100_sxm'?)",
        ),
        (
            "scheduler: vllm",
            "scheduler: vlm",
            "9:49: cluster.instances[0].scheduler: unknown scheduler 'vlm' (did you mean 'vllm'?)",
        ),
        (
            "router: least",
            "router: lest",
            "10:11: cluster.router: unknown router 'lest_outstanding' (did you mean 'least_outstanding'?)",
        ),
        ("round_robin", "round_robbin", "14:29: cluster.router: unknown router 'round_robbin' (did you mean"),
        ("llama-3.1-8b", "./none.json", "6:8: no such file: './none.json'; looked in the current folder and in"),
        ("h100_sxm", "my/gpu.yaml", "9:28: no such file: 'my/gpu.yaml'; looked in the current folder and in"),
        (
            "scheduler: vllm",
            "scheduler: {name: vllm, max_num_sqs: 3}",
            "9:62: cluster.instances[0].scheduler.max_num_sqs: "
            "scheduler 'vllm' has no parameter 'max_num_sqs' (did you mean 'max_num_seqs'?)",
        ),
        (
            "scheduler: vllm",
            "scheduler: {max_num_seqs: lots}",
            "9:64: cluster.instances[0].scheduler.max_num_seqs: must be a valid integer, not 'lots'",
        ),
        (
            "scheduler: vllm",
            "scheduler: {name: vllm, max_num_seqs: 9000}",
            "9:49: cluster.instances[0].scheduler: max_num_seqs is 9000 and max_num_batched_tokens 8192",
        ),
        (
            "scheduler: vllm",
            "scheduler: no_such_module:Policy",
            "9:49: cluster.instances[0].scheduler: scheduler 'no_such_module:Policy': cannot import no_such_module",
        ),
        ("process: poisson", "process: poison", "2:23: workload.arrivals.process: 'poison' is none of"),
        # shapes
        ("slo: {ttft: 500ms, tpot: 50ms}", "slo: fast", "11:6: slo: expected a mapping, not 'fast'"),
        ("    - {count: 2, hardware: h100_sxm, scheduler: vllm}", "    []", "9:5: cluster.instances: needs at least 1"),
        ("compare:", "name: a/b\ncompare:", "12:7: name: 'a/b' cannot name a folder"),
        ("compare:", "name: ..\ncompare:", "12:7: name: '..' cannot name a folder"),
        ("compare:", "seed: -1\ncompare:", "12:7: seed: must be at least 0, not -1"),
        ("compare:", "seed: 1e3\ncompare:", "12:7: seed: expected a whole number, not 1000.0"),
        # variants
        ('"cluster.router"', '"cluster.routr"', "14:11: unknown key 'routr' (did you mean 'router'?)"),
        (
            '"cluster.router": round_robin',
            '"cluster.instances[1].count": 3',
            "14:11: 'cluster.instances[1].count': 'cluster.instances' has 1 entry, counted from 0",
        ),
        (
            '"cluster.router": round_robin',
            '"cluster.instances.count": 3',
            "14:11: 'cluster.instances.count': 'cluster.instances' is a list "
            "(write cluster.instances[*].count or cluster.instances[0].count)",
        ),
        ('"cluster.router": round_robin', '"cluster..router": x', "14:11: 'cluster..router' is not a key path"),
        ('"cluster.router": round_robin', '"slo.ttft": 3', "14:23: slo.ttft: 3 has no unit"),
        ('"cluster.router": round_robin', "name: x", "14:11: a run cannot override 'name'"),
        (
            '"cluster.router": round_robin',
            '"workload.requests.x": 3',
            "14:11: 'workload.requests.x': 'workload.requests' is 20 and has no keys",
        ),
        (
            "compare:",
            "sweep: {seed: [1, 1]}\ncompare:",
            "12:8: two runs are named 'one seed=1' (drop the repeated value)",
        ),
        ("compare:", "sweep: {seed: []}\ncompare:", "12:15: sweep.seed: needs at least 1 entry"),
        ("compare:", "sweep: {seed: 3}\ncompare:", "12:15: sweep.seed: expected a list, not 3"),
    ],
)
def test_a_mistake_in_the_experiment(refused, change, to, message):
    assert EXPERIMENT.count(change) == 1
    text = EXPERIMENT.replace(change, to)
    assert refused(text).startswith(f"experiment.yaml:{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "1:1: the file is empty"),
        (b"- a\n", "1:1: the top level must be a mapping"),
        (b"model: \xff\xfe\n", "1:8: is not UTF-8 text"),
        (b"workload:\n\ttrace: x\n", "2:1: not valid YAML: a tab character (indent with spaces"),
        (b"workload: {trace: x\nmodel: y\n", "2:6: not valid YAML"),
    ],
)
def test_a_file_that_is_no_experiment(refused, text, message):
    assert refused(text).startswith(f"experiment.yaml:{message}")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("cluster.routr=random", "--set cluster.routr: unknown key 'routr' (did you mean 'router'?)"),
        ("clutser.router=random", "--set clutser.router: unknown key 'clutser' (did you mean 'cluster'?)"),
        (
            "cluster.instances[*].cuont=3",
            "--set cluster.instances[*].cuont: unknown key 'cuont' (did you mean 'count'?)",
        ),
        ("cluster.instances[0].count=0", "--set cluster.instances[0].count: must be at least 1, not 0"),
        ("cluster.instances[7].count=1", "--set cluster.instances[7].count: 'cluster.instances[7].count': 'cluster"),
        ("cluster.router[0]=1", "--set cluster.router[0]: 'cluster.router[0]': 'cluster.router' is not a list"),
        ("cluster.router.seeed=1", "--set cluster.router.seeed: router 'least_outstanding' has no parameter 'seeed'"),
        ("slo.ttft=500", "--set slo.ttft: 500 has no unit; write a duration such as 500ms"),
        ("workload.trace=/none/trace.csv", "--set workload.trace: no such file: '/none/trace.csv'"),
        (
            "cluster.router",
            "--set cluster.router: 'cluster.router' is not an override (write --set",
        ),
        ("=3", "--set : '=3' is not an override"),
        ("seed=", "--set seed: no value after '=' (write --set seed=VALUE)"),
        ("seed=[1", "--set seed:1:3: not valid YAML"),
        ("a b=1", "--set a b: 'a b' is not a key path (write it as cluster.instances[*].scheduler)"),
        ("compare={a: {compare: {}}}", "--set compare: a run cannot override 'compare'"),
    ],
)
def test_a_mistake_in_an_override(refused, option, message):
    assert refused(EXPERIMENT, "--set", option).startswith(message)


@pytest.mark.parametrize(
    ("trace", "message"),
    [
        ("azure_cnv_2023", "unknown trace 'azure_cnv_2023' (did you mean 'azure_conv_2023'?)"),
        (
            "azure_conv_2023@original",
            "the original of trace 'azure_conv_2023' has not been fetched "
            "(run 'tokenyard traces fetch azure_conv_2023')",
        ),
    ],
)
def test_a_trace_that_is_not_there(refused, tmp_path, monkeypatch, trace, message):
    monkeypatch.setenv("TOKENYARD_CACHE_DIR", str(tmp_path / "cache"))
    text = f"workload: {{trace: {trace}}}\n" + EXPERIMENT[EXPERIMENT.index("model:") :]
    assert refused(text) == f"experiment.yaml:1:19: {message}"


def test_an_output_folder_that_cannot_be_written(tmp_path, capsys):
    file, blocked = tmp_path / "experiment.yaml", tmp_path / "blocked"
    file.write_text(EXPERIMENT)
    blocked.write_text("a file where the folder should go")
    code, out, err = run(capsys, "run", file, "--out", blocked)
    assert (code, out) == (2, "")
    assert err.startswith(f"Error: {blocked}/experiment: cannot write results here: Not a directory (choose another")


def test_a_missing_experiment_suggests_its_neighbour(tmp_path, capsys):
    (tmp_path / "quickstart.yaml").write_text(EXPERIMENT)
    code, _, err = run(capsys, "run", tmp_path / "quickstrat.yaml")
    assert code == 2
    assert err == f"Error: {tmp_path}/quickstrat.yaml: no such file (did you mean '{tmp_path}/quickstart.yaml'?)\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["fly"], "No such command 'fly'"),
        (["run"], "Missing argument"),
        (["run", "x.yaml", "--fast"], "No such option"),
        (["run", "x.yaml", "--seed", "-1"], "Invalid value for '--seed'"),
        (["validate", "schedules", ".", "--tolerance", "3"], "--tolerance: '3' is not a percentage (write it as 3%)"),
        (["validate", "schedules", ".", "--tolerance", "nan%"], "'nan%' is not a percentage"),
        (["validate", "schedules", "/none"], "/none: no recorded schedules"),
    ],
)
def test_a_mistake_in_the_command(capsys, args, message):
    code, out, err = run(capsys, *args)
    assert (code, out) == (2, "")
    assert message in err
