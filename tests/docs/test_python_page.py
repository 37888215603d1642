"""What docs/python.md shows is what runs, from top to bottom."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/python.md"


def test_the_page_runs(tmp_path, monkeypatch, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 6
    monkeypatch.chdir(tmp_path)
    known = {}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), known)
    assert known["results"].folder == Path("results/two routers")
    assert [run["cluster"]["instances"] for run in known["results"].summary["runs"]] == [3, 3]
    assert list(known["results"].metrics.index) == ["round robin", "random"]
    assert len(known["results"].requests) == 1000
    assert known["way"]["e2el_ms"] == known["slowest"]["e2el_ms"].iloc[0]
    assert len(known["swept"].summary["runs"]) == 20
    printed = capsys.readouterr().out
    assert "random rate=60/s: " in printed
    assert "has decoded" in printed


def test_importing_loads_nothing_heavy():
    script = "import sys, simulator; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pandas", "pyarrow", "pydantic", "yaml", "simpy"} & set(loaded)
