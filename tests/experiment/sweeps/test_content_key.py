"""A point's key changes with what its results depend on, and with nothing else."""

import shutil
import sys

import pytest

from simulator.core.data import data_dir
from simulator.experiment.load import load_experiment
from simulator.experiment.sweeps import content_key
from simulator.experiment.sweeps.content_key import ContentKeys

BASE = """\
name: keyed
workload: {trace: trace.csv, limit: 3}
model: llama-3.1-8b
cluster:
  instances: [{hardware: my_gpu.yaml}]
  router: random
sweep: {workload.limit: [3, 4]}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,10,5\n2,10,5\n3,10,5\n")
    (tmp_path / "my_gpu.yaml").write_text((data_dir("hardware_profiles") / "rtx_4090.yaml").read_text())
    for tables in data_dir("hardware_profiles").glob("rtx_4090*"):
        if tables.suffix != ".yaml":
            shutil.copy(tables, tmp_path / tables.name)
    (tmp_path / "x.yaml").write_text(BASE)
    return tmp_path


def keys(folder, *sets, exact_steps=False):
    loaded = load_experiment(folder / "x.yaml", sets)
    made = ContentKeys(loaded.folder, exact_steps=exact_steps)
    return [made.key(run) for run in loaded.runs]


def test_the_same_points_have_the_same_keys_wherever_they_stand(folder, tmp_path_factory):
    before = keys(folder)
    assert len(set(before)) == 2
    text = (folder / "x.yaml").read_text()
    (folder / "x.yaml").write_text("# a remark\n" + text.replace("[3, 4]", "[5, 4, 3]"))
    assert keys(folder)[1:] == before[::-1], "points that were there keep theirs"


@pytest.mark.parametrize(
    "override", ["seed=1", "cluster.router=round_robin", "slo.ttft=1s", "name=other", "cluster.instances[0].count=2"]
)
def test_another_configuration_is_another_point(folder, override):
    assert not set(keys(folder)) & set(keys(folder, override))


def test_exact_steps_are_another_point(folder):
    assert not set(keys(folder)) & set(keys(folder, exact_steps=True))


def test_a_changed_trace_is_another_point(folder):
    before = keys(folder)
    with (folder / "trace.csv").open("a") as file:
        file.write("4,10,5\n")
    assert not set(before) & set(keys(folder))


def test_a_changed_profile_and_its_tables_are_other_points(folder):
    before = keys(folder)
    profile = folder / "my_gpu.yaml"
    profile.write_text("# measured again\n" + profile.read_text())
    second = keys(folder)
    assert not set(before) & set(second)
    (tables,) = [path for path in folder.iterdir() if path.name.startswith("rtx_4090")]
    tables.write_bytes(tables.read_bytes() + b"\n")
    assert not set(second) & set(keys(folder))


def test_a_changed_policy_of_ones_own_is_another_point(folder, monkeypatch):
    monkeypatch.syspath_prepend(folder)
    policy = folder / "my_own_router.py"
    policy.write_text("from simulator.cluster.routers.random import Random\n\n\nclass Mine(Random):\n    pass\n")
    before = keys(folder, "cluster.router=my_own_router:Mine")
    policy.write_text(policy.read_text() + "    threshold = 3\n")
    assert not set(before) & set(keys(folder, "cluster.router=my_own_router:Mine"))
    sys.modules.pop("my_own_router")


def test_changed_code_of_the_simulator_is_another_point(folder, monkeypatch, tmp_path):
    before = keys(folder)
    changed = tmp_path / "batch.py"
    changed.write_text("SIZE = 1\n")
    code = content_key._code()
    assert {"engine", "scheduling", "workload"} <= {path.parent.name for path in code}
    assert not {"cli", "report"} & {path.relative_to(content_key._PACKAGE).parts[0] for path in code}
    monkeypatch.setattr(content_key, "_code", lambda: (*code, changed))
    second = keys(folder)
    changed.write_text("SIZE = 2\n")
    assert len({*before, *second, *keys(folder)}) == 6
