"""What docs/extending.md shows is what runs: its files are written out and used as the page says."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from simulator.cli.main import main

PAGE = Path(__file__).parents[2] / "docs/extending.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(language):
    return [text for found, text in BLOCK.findall(PAGE.read_text()) if found == language]


def named_files():
    """Return the code blocks that begin with a comment naming their file."""
    texts = blocks("python") + blocks("yaml")
    return {text.partition("\n")[0].removeprefix("# "): text for text in texts}


def tokenyard(*args):
    with pytest.raises(SystemExit) as end:
        main([*map(str, args)])
    assert not end.value.code, args


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a working folder with the page's files in it."""
    for name, text in named_files().items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    # The command adds the working folder to the path; what it adds is taken back, and so is what was imported from it.
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    for name in ("my_policies", "my_routers"):
        sys.modules.pop(name, None)


def metrics(folder, name):
    summary = json.loads((folder / name / "summary.json").read_text())
    return {run["name"]: run["metrics"] for run in summary["runs"]}


def test_the_page_names_its_files():
    assert set(named_files()) == {"my_policies.py", "my_routers.py", "spf.yaml", "apart.yaml"}


def test_the_policy_is_faster_for_most_and_its_horizon_is_right(folder, capsys):
    commands = [line for block in blocks("console") for line in block.splitlines()]
    runs = [shlex.split(line)[1:] for line in commands if line.startswith("tokenyard run")]
    assert len(runs) == 3
    for arguments in runs:
        tokenyard(*arguments, "--no-report")
    fast, exact = metrics(folder / "fast", "spf"), metrics(folder / "exact", "spf")
    assert metrics(folder / "results", "spf") == fast
    assert commands[-1] == "cmp fast/spf/requests.parquet exact/spf/requests.parquet"
    assert (folder / "fast/spf/requests.parquet").read_bytes() == (folder / "exact/spf/requests.parquet").read_bytes()
    assert [run["completed"] for run in fast.values()] == [run["completed"] for run in exact.values()] == [1000] * 3
    assert fast["shortest first"]["mean_ttft_ms"] < 0.7 * fast["fcfs"]["mean_ttft_ms"]
    assert fast["shortest first, small batches"] != fast["shortest first"], "the parameter arrives"


def test_the_policy_preempts_where_memory_runs_out(folder, capsys):
    small = ("--set", "cluster.instances[*].kv_blocks=1100", "--set", "workload.requests=400")
    for extra in (("--out", "fast"), ("--out", "exact", "--exact-steps")):
        tokenyard("run", "spf.yaml", "--no-report", *small, *extra)
    fast = metrics(folder / "fast", "spf")["shortest first"]
    assert fast["preemptions"] > 0
    assert fast["completed"] == 400
    assert (folder / "fast/spf/requests.parquet").read_bytes() == (folder / "exact/spf/requests.parquet").read_bytes()


def test_a_horizon_that_claims_too_much_shows(folder, capsys):
    policies = folder / "my_policies.py"
    wrong = policies.read_text().replace("horizon=1 if chunks and queue else FOREVER", "horizon=FOREVER")
    assert wrong != policies.read_text()
    policies.write_text(wrong)
    for extra in (("--out", "fast"), ("--out", "exact", "--exact-steps")):
        tokenyard("run", "spf.yaml", "--no-report", "--set", "workload.requests=400", *extra)
    assert (folder / "fast/spf/requests.parquet").read_bytes() != (folder / "exact/spf/requests.parquet").read_bytes()


def test_a_wrong_parameter_is_an_error_with_its_line(folder, capsys):
    spec = folder / "spf.yaml"
    spec.write_text(spec.read_text().replace("max_num_seqs: 64", "max_num_seqs: many"))
    with pytest.raises(SystemExit) as end:
        main(["run", "spf.yaml"])
    assert end.value.code == 2
    line = next(n for n, text in enumerate(spec.read_text().splitlines(), start=1) if "many" in text)
    assert f"spf.yaml:{line}:" in capsys.readouterr().err


def test_the_router_keeps_long_prompts_apart(folder, capsys):
    import pyarrow.parquet as pq

    tokenyard("run", "apart.yaml", "--no-report")
    rows = pq.read_table("results/apart/requests.parquet", columns=["instance", "prompt_tokens"]).to_pylist()
    assert {row["instance"] for row in rows if row["prompt_tokens"] >= 6000} == {2}
    assert {row["instance"] for row in rows if row["prompt_tokens"] < 6000} == {0, 1}


def test_entry_points_give_the_classes_plain_names(folder, monkeypatch, capsys):
    (points,) = blocks("toml")
    info = folder / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    groups = re.sub(r'\[project\.entry-points\."(.+)"\]', r"[\1]", points).replace('"', "")
    (info / "entry_points.txt").write_text(groups)
    monkeypatch.syspath_prepend(folder)
    tokenyard("policies", "--json")
    listed = capsys.readouterr().out
    assert "shortest_prompt_first" in listed
    assert "long_prompts_apart" in listed
    sets = ["cluster.instances[*].scheduler=shortest_prompt_first", "cluster.router=long_prompts_apart"]
    sets = [word for text in [*sets, "workload.requests=50"] for word in ("--set", text)]
    tokenyard("run", "apart.yaml", "--no-report", *sets)
    assert metrics(folder / "results", "apart")["apart"]["completed"] == 50
