"""The importer of docs/hardware.md is what runs, and so is its first YAML."""

import re
from pathlib import Path

import pytest
from support.kernel_tables import write_tables

from simulator.hardware.import_profile import import_into
from simulator.hardware.importers.base import IMPORTERS
from simulator.hardware.registry import load_profile

PAGE = Path(__file__).parents[3] / "docs/hardware.md"


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return found


def test_the_page(tmp_path, monkeypatch):
    IMPORTERS.names()
    monkeypatch.setattr(IMPORTERS, "_classes", dict(IMPORTERS._classes))
    exec(compile(block("python"), str(PAGE), "exec"), {})
    mine = tmp_path / "my_gpu.yaml"
    mine.write_text(block("yaml"))
    import_into(mine, "aiconfigurator", [write_tables(tmp_path / "kernels")])
    lines = [f"bfloat16,{n},1024,{m},{1e-5 * m}" for n in (1024, 2048) for m in (1, 2, 4)]
    (tmp_path / "bench.csv").write_text("\n".join(["dtype,n,k,m,seconds", *lines]))
    import_into(mine, "my_bench", [str(tmp_path / "bench.csv")])
    profile = load_profile(str(mine))
    (grid,) = profile.tables.find("my_library-1.0", "gemm")
    assert grid.axis("m").knots.tolist() == [1, 4]
    assert grid.at(1024, 1024, 3) == pytest.approx(3e-5, rel=1e-3)
    assert "my bench" in profile.provenance["tables"]
