"""The compiled loop gives what Python gives, and is only used for the source that it was made from."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.cluster.registry import ROUTERS
from simulator.compiled import FOLDER, MODULES, PACKAGE, fingerprint, source_of
from simulator.core import InputError
from simulator.core.registry import hidden_attributes
from simulator.scheduling.registry import SCHEDULERS

EXPERIMENTS = PACKAGE.parent / "experiments/compare"
NAMES = sorted(file.stem for file in EXPERIMENTS.glob("*.yaml"))

# Every policy, front, router and fault of experiments/compare, for seconds instead of minutes.
RUN = """
import json, sys
from hashlib import sha256
from pathlib import Path
import yaml
import simulator
from simulator.compiled import is_compiled

digests = {}
for name in sys.argv[2:]:
    tree = yaml.safe_load(Path(f"experiments/compare/{name}.yaml").read_text())
    tree.pop("sweep", None)
    if "trace" in tree["workload"]:
        tree["workload"].update(duration="8s", rate_scale=tree["workload"].get("rate_scale", 4))
    else:
        tree["workload"]["duration"] = "2min"
    if name == "migration":  # Memory so short that requests move at once.
        tree["cluster"]["instances"][0]["kv_blocks"] = 400
    if name == "spot":  # Nodes leave and come while requests run; each shape takes a second to set up.
        changes = [{"at": "20s", "leave": 1}, {"at": "60s", "leave": 1}, {"at": "90s", "come": 1}]
        tree["cluster"]["spot"].update(shapes=[[1, 4], [1, 8]], changes=changes)
    out = Path(sys.argv[1], name)
    simulator.run(tree, out=out)
    files = sorted(file for file in out.rglob("*.parquet"))
    digests[name] = [sha256(file.read_bytes()).hexdigest() for file in files]
print(json.dumps([is_compiled(), digests]))
"""


def run(out: Path, compiled: str) -> tuple[bool, dict[str, list[str]]]:
    """Run the experiments in a process of its own; return whether its loop was compiled, and what came out."""
    words = [sys.executable, "-c", RUN, str(out), *NAMES]
    where = {"cwd": PACKAGE.parent, "env": {**os.environ, "TOKENYARD_COMPILED": compiled}}
    done = subprocess.run(words, capture_output=True, text=True, **where)
    assert done.returncode == 0, done.stderr
    return tuple(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="nothing was compiled at installation")
def test_results_are_the_same_to_the_byte(tmp_path):
    python, by_python = run(tmp_path / "python", "0")
    _, by_machine = run(tmp_path / "compiled", "1")
    assert not python
    assert all(len(files) >= 2 for files in by_python.values())
    assert all(len(by_python[name]) == 4 for name in ("disaggregation", "migration", "spot")), "KV moves"
    assert by_machine == by_python


def test_a_changed_source_is_another_fingerprint(tmp_path):
    package = tmp_path / "simulator"
    for module in MODULES:
        source_of(module, package).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source_of(module), source_of(module, package))
    assert fingerprint(package) == fingerprint()
    with source_of("engine.instance", package).open("a") as file:
        file.write("# another line\n")
    assert fingerprint(package) != fingerprint()


def descendants(cls: type) -> set[type]:
    return {cls}.union(*(descendants(each) for each in cls.__subclasses__()))


def test_no_class_of_ours_hides_what_compiled_code_reads_in_instances():
    assert SCHEDULERS.names()
    assert ROUTERS.names()
    modules = {f"simulator.{module}" for module in MODULES}
    compiled = {
        thing
        for module in modules
        for thing in vars(importlib.import_module(module)).values()
        if isinstance(thing, type) and thing.__module__ == module
    }
    others = set[type]().union(*(descendants(each) for each in compiled)) - compiled
    assert len(others) > 40
    assert not [cls for cls in others if hidden_attributes(cls)]


def test_a_class_that_hides_one_is_refused(tmp_path, monkeypatch):
    own = "from simulator.scheduling.vllm import VLLM\nclass Short(VLLM):\n    longest_prompt = 100\n"
    (tmp_path / "own_short.py").write_text(own)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="Short sets longest_prompt for the class") as error:
        SCHEDULERS.get("own_short:Short")
    assert error.value.hint == "set it in __init__: self.longest_prompt = ..."


@pytest.mark.parametrize("registry", [SCHEDULERS, ROUTERS], ids=["schedulers", "routers"])
def test_a_base_names_its_abstract_methods_for_the_registry(registry):
    base = registry._base
    if abstract := getattr(base, "__abstractmethods__", None):
        assert abstract == set(registry._defines)
    assert all(hasattr(base, method) for method in registry._defines)
