"""The compiled loop gives what Python gives, and is only used for the source that it was made from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from simulator.compiled import FOLDER, MODULES, PACKAGE, fingerprint, source_of

RUN = """
import sys, simulator
from simulator.compiled import is_compiled
simulator.run(sys.argv[1], set={"workload.requests": 400}, out=sys.argv[2])
print(is_compiled())
"""


def run(out: Path, compiled: str) -> bool:
    """Run the quickstart in a process of its own; return whether its loop was compiled."""
    words = [sys.executable, "-c", RUN, "experiments/quickstart.yaml", str(out)]
    where = {"cwd": PACKAGE.parent, "env": {**os.environ, "TOKENYARD_COMPILED": compiled}}
    return "True" in subprocess.run(words, capture_output=True, text=True, check=True, **where).stdout


@pytest.mark.skipif(not (FOLDER / "manifest.json").is_file(), reason="nothing was compiled at installation")
def test_results_are_the_same_to_the_byte(tmp_path):
    assert not run(tmp_path / "python", "0")
    run(tmp_path / "compiled", "1")
    for name in ("requests", "iterations", "spans"):
        files = [tmp_path / how / "quickstart" / f"{name}.parquet" for how in ("python", "compiled")]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_changed_source_is_another_fingerprint(tmp_path):
    package = tmp_path / "simulator"
    for module in MODULES:
        source_of(module, package).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source_of(module), source_of(module, package))
    assert fingerprint(package) == fingerprint()
    with source_of("engine.instance", package).open("a") as file:
        file.write("# another line\n")
    assert fingerprint(package) != fingerprint()
