"""Every example that a command's help shows is run, in a folder that has the files it names."""

import csv
import importlib.util
import json
import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer.main

from simulator.cli.main import app_of, main
from simulator.core.data import data_dir

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared"
EXAMPLE = re.compile(r"Example: (tokenyard .*)")

# Options that make an example short, and nothing else of it different.
SHORTER = {
    "run": ["--set", "workload.limit=300"],
    "plan": ["--jobs", "2"],
    "reproduce": ["--quick"],
}
MEASURED = {"validate", "validate schedules", "validate points", "validate requests", "validate open-loop",
            "validate saturated", "calibrate power"}  # fmt: skip
# Minutes each; what they do has tests of its own, on smaller data.
LONG = {"validate report", "calibrate engine", "plan", "reproduce", "techniques report"}


def examples(group, path=()):
    """Yield each command's words and its example."""
    found = EXAMPLE.search(group.help or "")
    yield " ".join(path), found[1] if found else None
    for name, command in getattr(group, "commands", {}).items():
        yield from examples(command, (*path, name))


EXAMPLES = dict(examples(typer.main.get_command(app_of())))
# A group may show the example of one of its commands: each is run once.
DISTINCT = {example: words for words, example in EXAMPLES.items()}.values()


def helper(path):
    """Return a test module, for the sample files it makes."""
    spec = importlib.util.spec_from_file_location(f"sample_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    return end.value.code or 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with the files that the examples name."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "experiments").symlink_to(data_dir("experiments"))
    profile = data_dir("hardware_profiles") / "rtx_4090.yaml"
    shutil.copy(profile, folder / "my_gpu.yaml")
    for tables in profile.parent.glob("rtx_4090*"):
        if tables != profile:
            shutil.copy(tables, folder / tables.name)
    (folder / "my_trace.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,10,5\n1,20,5\n2,30,6\n")
    links = helper(ROOT / "tests/hardware/importers/test_links.py")
    (folder / "all_reduce.json").write_text(json.dumps(links.nccl()))
    benchmark = helper(ROOT / "tests/workload/test_benchmark_results.py")
    (folder / "bench.json").write_text(json.dumps(benchmark.VLLM))
    (folder / "docs").mkdir()
    if SHARED.is_dir():
        measured_samples(folder)
    return folder


def measured_samples(folder):
    """Lay out a little of the measured data: the examples take folders and files of any size."""
    measured = SHARED / "measured"
    (folder / "measured").symlink_to(measured)
    (folder / "recorded_schedules").mkdir()
    for case in sorted((SHARED / "vllm_schedules").glob("case_000[0-2].json.gz")):
        (folder / "recorded_schedules" / case.name).symlink_to(case)
    (folder / "request_runs").mkdir()
    run = min((measured / "request_runs").iterdir())
    (folder / "request_runs" / run.name).symlink_to(run)
    for name in ("serving_points.csv", "open_loop_points.csv", "saturated_points.csv"):
        shorten(measured / name, folder / name, 2)


def shorten(whole, into, rows):
    """Write a CSV's first rows to another."""
    with whole.open(newline="") as file, into.open("w", newline="") as short:
        csv.writer(short).writerows(list(csv.reader(file))[: rows + 1])


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TOKENYARD_CACHE_DIR", str(folder / "cache"))
    return folder


def test_every_command_has_an_example():
    assert [words for words, example in EXAMPLES.items() if example is None] == []


@pytest.mark.parametrize("words", DISTINCT)
def test_the_example_runs(words, here, capfd):
    if words in MEASURED | LONG and not SHARED.is_dir():
        pytest.skip("needs the measured data, which is not here")
    if words in LONG and "TOKENYARD_LONG_TESTS" not in os.environ:
        pytest.skip("takes minutes; set TOKENYARD_LONG_TESTS to run it")
    if words in ("calibrate", "calibrate gpu") and shutil.which("nvidia-smi"):
        pytest.skip("there is a GPU, and measuring it takes minutes")
    if words == "traces fetch":
        fetched(here)
    if words == "calibrate power":  # a fit takes more than a few rows
        shorten(SHARED / "measured/saturated_points.csv", here / "saturated_points.csv", 10**6)
    if words in ("compare", "inspect") and not (here / "results/quickstart").exists():
        call("run", "experiments/quickstart.yaml", "--no-report", *SHORTER["run"])
    command = shlex.split(EXAMPLES[words].partition(" > ")[0])[1:]
    shorter = SHORTER.get(command[0], [])
    if words == "":  # "run" shows one more, with its report
        shorter = [*shorter, "--no-report"]
    code = call(*command, *shorter)
    printed = capfd.readouterr()
    if words in ("calibrate", "calibrate gpu"):
        assert (code, "GPU" in printed.err) == (1, True), "there is none here, and it says so"
    elif command[0] == "validate":
        assert code in (0, 1), "1 is a verdict, too"
        assert printed.out.strip()
    else:
        assert code == 0, printed.err


def fetched(folder):
    """Put the trace where a download would, so that the command finds it there and only checks it."""
    original = SHARED / "traces/AzureLLMInferenceTrace_conv.csv"
    if not original.is_file():
        pytest.skip("needs the network, or the trace itself")
    (folder / "cache").mkdir(exist_ok=True)
    shutil.copy(original, folder / "cache")
