"""The real engine without PyTorch: it schedules as the simulated one does, and its records are read."""

import csv
import importlib.util
import json
import random
import re
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from simulator.core import Request
from simulator.core.yaml_source import Place, YamlSource
from simulator.experiment.assemble import assemble
from simulator.experiment.calibration.recipe import load_recipe
from simulator.experiment.checking import validate
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.request_run import read_run
from simulator.experiment.validation.setup import Setup
from simulator.hardware.engine_profile import load_engine
from simulator.model.registry import load_model
from simulator.workload.table import Workload

HARNESS = Path(__file__).parents[2] / "hardware_profiles/microbench"
OURS = ("serving", "serve_real", "end_to_end", "run")
ENGINE = str(HARNESS / "serving/engine.yaml")


@pytest.fixture(scope="module", autouse=True)
def serving():
    """Make the server's modules importable, for these tests alone."""
    sys.path.insert(0, str(HARNESS))
    yield
    sys.path.remove(str(HARNESS))
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]


class FakeTime:
    """A clock that jumps, and a runner whose iterations take what the simulator's cost model says."""

    def __init__(self, cost):
        self.cost, self.time, self.free_at, self.launched = cost, 50.0, 50.0, []

    def now(self):
        return self.time

    def sleep_until(self, when):
        self.time = max(self.time, when)

    def launch(self, work):
        decodes, chunks = work.parts[: work.decodes], work.parts[work.decodes :]
        self.longest = max((part.past + 1 for part in decodes), default=0)
        context = sum(part.past + 1 for part in decodes)
        if chunks:
            own = [(after(part.past), part.new) for part in chunks]
            took = self.cost.mixed(own, sum(part.new for part in chunks), len(decodes), context, self)
        else:
            took = self.cost.decode_run(len(decodes), context, self)[0]
        self.free_at = max(self.free_at, self.time) + took / 1e12
        self.launched.append(work)
        return self.free_at

    def wait(self, ticket):
        self.time = max(self.time, ticket)


def after(past):
    request = Request(0, 0, past + 1, 1)
    request.computed = past
    return request


def served(folder, rows, *, depth, blocks, kind=FakeTime):
    """Serve rows (arrival, prompt, output) on fake time and return what the recorded run says, and the fake."""
    from serving.loop import serve
    from serving.record import Recorder
    from serving.scheduler import Scheduler, Served

    limits = {"max_num_seqs": 8, "max_num_batched_tokens": 256}
    meta = {
        "model": "llama-3.1-8b",
        "engine_kwargs": limits,
        "kv_cache": {"num_gpu_blocks": blocks, "block_size": 16, "enable_prefix_caching": False},
        "resolved_config": {"scheduler_config": {"async_scheduling": depth == 2}},
        "hardware": {"device_name": "NVIDIA H100"},
    }
    setup = Setup("h100_sxm", "llama-3.1-8b", engine=ENGINE, asynchronous=depth == 2, server=False)
    empty = Workload("w", "w", *(np.array([1]) for _ in range(3)))
    fake = kind(assemble(setup.experiment("w"), empty).costs[0])
    requests = [Served(index, 50.0 + at, prompt, output) for index, (at, prompt, output) in enumerate(rows)]
    with Recorder(folder, meta, wall=1.7e9) as recorder:
        scheduler = Scheduler(blocks=blocks, block_size=16, **limits)
        serve(requests, scheduler, fake, fake, recorder, depth=depth)
    assert len(scheduler.free) == scheduler.usable == blocks - 1
    run = read_run(folder)
    return replace(run, setup=replace(run.setup, engine=ENGINE)), fake


def some_rows(seed, number=60, rate=40.0):
    draw, at, rows = random.Random(seed), 0.0, []
    for _ in range(number):
        rows.append((at, draw.randint(1, 600), draw.randint(1, 120)))
        at += draw.expovariate(rate)
    return rows


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("blocks", "preempts"), [(2000, False), (90, True)])
def test_it_schedules_as_the_simulated_vllm_does(tmp_path, depth, blocks, preempts):
    run, _ = served(tmp_path / "run", some_rows(blocks), depth=depth, blocks=blocks)
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    prediction = predict(run.setup, run.workload)
    assert meta["complete"] and meta["num_requests"] == 60
    assert (meta["preemptions"] > 0) == preempts
    assert prediction.preemptions == meta["preemptions"]
    for name in ("ttft", "e2el"):
        # Requests lose the share of a microsecond on their way through a clock of 1.7e9 seconds.
        assert getattr(prediction, name) == pytest.approx(getattr(run, name), rel=1e-4, abs=2e-3)


def test_planning_ahead_changes_what_is_decided(tmp_path):
    one, ahead = (served(tmp_path / str(depth), some_rows(1), depth=depth, blocks=2000)[0] for depth in (1, 2))
    assert one.ttft.mean() < ahead.ttft.mean()


@pytest.mark.parametrize("depth", [1, 2])
def test_every_token_is_computed_once_into_blocks_of_its_own(tmp_path, depth):
    rows = some_rows(7)
    _, fake = served(tmp_path / "run", rows, depth=depth, blocks=90)
    tables, made, preempted = {}, dict.fromkeys(range(len(rows)), 0), 0
    for work in fake.launched:
        assert sum(part.new for part in work.parts) <= 256 and len(work.parts) <= 8
        assert all(part.new == 1 for part in work.parts[: work.decodes])
        for request, place, block in work.blocks:
            if place == 0:
                preempted += request in tables
                tables[request] = []
            assert place == len(tables[request])
            tables[request].append(block)
        held = [tables[part.request.index] for part in work.parts]
        for part, blocks in zip(work.parts, held, strict=True):
            assert 0 not in blocks and len(blocks) * 16 >= part.past + part.new
            made[part.request.index] += part.samples
        flat = [block for blocks in held for block in blocks]
        assert len(flat) == len(set(flat))
    assert preempted > 0
    assert made == {index: output for index, (_, _, output) in enumerate(rows)}


def test_iterations_are_written_down(tmp_path):
    served(tmp_path / "run", [(0.0, 300, 3), (0.0, 20, 2)], depth=1, blocks=100)
    with (tmp_path / "run/iterations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    shown = [(row["decodes"], row["decode_context"], row["chunks"], row["running"], row["waiting"]) for row in rows]
    assert shown[:2] == [("0", "0", "0+256", "1", "1"), ("0", "0", "256+44 0+20", "2", "0")]
    assert shown[2:] == [("2", str(301 + 21), "", "1", "0"), ("1", "302", "", "0", "0")]
    ends = [float(row["end"]) for row in rows]
    assert all(float(row["start"]) < float(row["end"]) for row in rows) and ends == sorted(ends)
    assert rows[-1]["free_blocks"] == "99"


def test_a_run_that_is_killed_leaves_what_was_finished(tmp_path):
    class Broken(FakeTime):
        def launch(self, work):
            if len(self.launched) == 100:
                raise KeyboardInterrupt
            return super().launch(work)

    with pytest.raises(KeyboardInterrupt):
        served(tmp_path / "run", some_rows(3), depth=1, blocks=2000, kind=Broken)
    meta = json.loads((tmp_path / "run/meta.json").read_text())
    assert meta["complete"] is False and 0 < meta["num_requests"] < 60
    assert len(read_run(tmp_path / "run").workload) == meta["num_requests"]


def test_a_request_that_never_fits_is_refused(tmp_path):
    with pytest.raises(ValueError, match="request 1 needs 11 KV blocks of 16 tokens, there are 9"):
        served(tmp_path / "run", [(0.0, 30, 3), (0.0, 160, 2)], depth=1, blocks=10)


def test_shapes_and_settings_are_those_the_simulator_knows():
    from serving.shapes import KNOWN, kv_bytes

    shape, model = KNOWN["llama-3.1-8b"], load_model("llama-3.1-8b")
    assert (shape["hidden_size"], shape["vocab_size"], shape["num_hidden_layers"]) == (model.hidden, model.vocab, 32)
    assert shape["max_position_embeddings"] == model.max_model_len
    assert kv_bytes(shape) == model.kv_bytes_per_token()
    engine, recipe = load_engine(ENGINE), load_recipe(str(HARNESS / "serving/recipe.yaml"))
    assert (engine.build(None, True).admission_lag, engine.build(None, False).admission_lag) == (1, 0)
    assert {build.name for build in engine.builds} == set(recipe.steps[0].builds)
    assert recipe.steps[0].data[0].file == "warm_up"


AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:04.0319600,396,109
2023-11-16 18:17:03.9799600,374,44
"""


def test_traces_are_read(tmp_path):
    from serving.trace import Row, choose, read_trace

    def write(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    rows = read_trace(write("azure.csv", AZURE))
    assert [(row.prompt, row.output) for row in rows] == [(374, 44), (396, 109)]
    assert [row.arrival for row in rows] == pytest.approx([0.0, 0.052], abs=1e-6)
    rows = read_trace(write("plain.csv", "arrival,prompt,output\n3,10,5\n4,11,6\n6,12,7\n7,13,8\n"))
    assert rows == [Row(0, 10, 5), Row(1, 11, 6), Row(3, 12, 7), Row(4, 13, 8)]
    # What only Tokenyard reads: requests with block hashes, times in milliseconds.
    line = '{"timestamp": %d, "input_length": 600, "output_length": 9, "hash_ids": [1, 2]}\n'
    assert read_trace(write("mooncake.jsonl", line % 0 + line % 1500))[1] == Row(1.5, 600, 9)

    assert [row.arrival for row in choose(rows, rate=1.5, seconds=None)] == pytest.approx([0, 0.5, 1.5, 2])
    assert choose(rows, rate=1.5, seconds=1.0)[-1].prompt == 11
    assert choose(rows, skip=1, requests=2, seconds=None) == [Row(0, 11, 6), Row(2, 12, 7)]
    with pytest.raises(ValueError, match="none after the first 4"):
        choose(rows, skip=4, seconds=None)
    with pytest.raises(ValueError, match=r"bad\.csv:3: not an arrival and two lengths"):
        read_trace(write("bad.csv", "arrival,prompt,output\n3,10,5\n4,,6\n"))
    with pytest.raises(ValueError, match=r"none\.csv:2: a request has at least one token"):
        read_trace(write("none.csv", "arrival,prompt,output\n3,10,0\n"))
    with pytest.raises(ValueError, match="cannot be read"):
        read_trace(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match="other"):
        read_trace(write("other.csv", "a,b\n1,2\n"))


def call(tmp_path, *words, python=sys.executable):
    (tmp_path / "trace.csv").write_text("arrival,prompt,output\n0,300,40\n0.2,90,30\n")
    command = [python, str(HARNESS / "serve_real.py"), "--trace", str(tmp_path / "trace.csv")]
    command += ["--out", str(tmp_path / "out"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is here")
def test_without_pytorch_it_says_so(tmp_path):
    done = call(tmp_path)
    assert done.returncode == 1 and "PyTorch is not installed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--rates", "1,x"], "is no list of numbers"),
        (["--rates", "0"], "above 0"),
        (["--max-num-seqs", "9", "--max-num-batched-tokens", "8"], "at most --max-num-batched-tokens"),
    ],
)
def test_wrong_options_are_refused(tmp_path, words, problem):
    done = call(tmp_path, *words)
    assert done.returncode == 2 and problem in done.stderr


def test_commands_of_the_documents_are_ones_that_are_taken():
    import end_to_end
    import serve_real

    names = ("docs/gpu-runs.md", "docs/calibration.md", "hardware_profiles/microbench/README.md")
    text = "\n".join((HARNESS.parents[1] / name).read_text() for name in names)
    found = re.findall(r"(serve_real|end_to_end)\.py (--[^`|\\\n#]*?)(?: 2>|`|\n| +#)", text)
    assert {name for name, _ in found} == {"serve_real", "end_to_end"} and len(found) >= 7
    for name, words in found:
        options = {"serve_real": serve_real, "end_to_end": end_to_end}[name]._options(shlex.split(words))
        assert options.out


def test_the_experiment_for_ones_own_vllm_is_one():
    text = (HARNESS.parents[1] / "docs/calibration.md").read_text()
    (experiment,) = re.findall(r"```yaml\n(name: mine\n.*?)```", text, re.DOTALL)
    tree = yaml.safe_load(experiment.replace("my_gpu.yaml", "h100_sxm"))
    config = validate(YamlSource(tree, {(): Place("mine", "mine")}))
    assert config.cluster.instances[0].engine.version == "0.19.0"
