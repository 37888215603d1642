"""Compiles the modules of the simulation's loop (``simulator/compiled.py`` names them) while Tokenyard is installed.

Without a C compiler, with ``TOKENYARD_COMPILED=0``, or if anything goes wrong, it says so and leaves them to Python.
"""

import json
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_BUILD = """
import sys
from mypyc.build import mypycify
from setuptools import setup

# A library whose types are not at hand is an error: its classes would be laid out wrongly.
options = ["--config-file=", "--follow-imports=silent", "--cache-dir=mypy"]
modules = mypycify([*options, *sys.argv[1:]], target_dir="c", opt_level="2", strip_asserts=False)
words = ["build_ext", "--build-lib=out", "--build-temp=objects", "--parallel=2"]
setup(name="tokenyard", packages=[], ext_modules=modules, script_args=words)
"""

# A busy queue with too few KV blocks: requests are preempted, and finish when Python says so, or nothing is installed.
_TRY = """
import numpy as np
from simulator.compiled import is_compiled
from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.routers.least_outstanding import LeastOutstanding
from simulator.core import Streams
from simulator.cost.base import FixedCost
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.scheduling.vllm import VLLM
from simulator.workload.table import Workload

rng = np.random.default_rng(0)
columns = [np.sort(rng.integers(0, 10**10, 300)), rng.integers(1, 200, 300), rng.integers(1, 100, 300)]
servers = []
for _ in range(2):
    core = EngineCore(CountingPool(60, 16, reuse=True), VLLM(max_num_seqs=32, max_num_batched_tokens=64), Ledger(), 900)
    servers.append(Server(core, FixedCost(10**7)))
cluster = Cluster(servers, LeastOutstanding(), Workload("a try", "", *columns), Streams(0).get("router"))
cluster.run()
print(is_compiled(), [(each.finished_at, each.preemptions) for each in cluster.requests])
"""


class CompileLoop(BuildHookInterface):
    """Adds machine code to the package, in ``simulator/_compiled``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say that the wheel is for this Python and machine."""
        package = Path(self.root) / "simulator"
        folder = package / "_compiled"
        shutil.rmtree(folder, ignore_errors=True)
        compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
        if os.environ.get("TOKENYARD_COMPILED") == "0" or shutil.which(compiler) is None:
            return
        try:
            compile_into(folder, package)
        except Exception as problem:  # whatever it is, Python runs the same modules
            self.app.display_warning(f"nothing was compiled, the simulation runs in Python: {problem}")
            shutil.rmtree(folder, ignore_errors=True)
            return
        build_data["artifacts"].append("simulator/_compiled/**")
        build_data["pure_python"] = False
        build_data["infer_tag"] = True


def compile_into(folder: Path, package: Path) -> None:
    """Compile the modules of a package into a folder, with a manifest that says from what; try what came out."""
    loop = runpy.run_path(str(package / "compiled.py"))
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        shutil.copytree(
            package, place / "simulator", ignore=shutil.ignore_patterns("_compiled", "__pycache__", "*.npz")
        )
        # What the package offers to users leads to everything, which needn't be read for this.
        (place / "simulator/__init__.py").write_text("")
        sources = [str(loop["source_of"](module, Path("simulator"))) for module in loop["MODULES"]]
        # Python rounds after each operation; on some machines a compiler would join two.
        _python(place, _BUILD, *sources, CFLAGS="-ffp-contract=off " + os.environ.get("CFLAGS", ""))
        found = {
            file.relative_to(place / "out"): file
            for file in (place / "out").rglob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}")
        }
        files = {}
        for path, file in found.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, target)
            files[".".join([*path.parent.parts, path.name.partition(".")[0]])] = path.as_posix()
    manifest = {"fingerprint": loop["fingerprint"](package), "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1))
    said = [_python(package.parent, _TRY, TOKENYARD_COMPILED=how) for how in ("1", "0")]
    if said[0] != said[1].replace("False", "True", 1):
        raise RuntimeError("compiled, the loop gives other results than in Python")


def _python(place: Path, code: str, *words: str, **environment: str) -> str:
    """Run code in a process of its own, in a folder; return what it printed, or raise with the end of that."""
    where: dict[str, Any] = {"cwd": place, "env": {**os.environ, **environment}}
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, **where)
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return done.stdout
