"""The CUDA harness without a GPU: it builds, its kernels compute what they should, its host side keeps its records."""

import importlib.util
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
HARNESS = REPO / "hardware_profiles/microbench"
EMULATOR = Path(__file__).parent / "emulator"
TWIN = HARNESS / "torch_twin"
NVCC = shutil.which("nvcc")
GXX = shutil.which("g++")


def cuda_headers():
    """Return the folder of cuda_bf16.h beside nvcc, None without one."""
    if NVCC is None:
        return None
    shown = subprocess.run([NVCC, "--dryrun", "-c", "x.cu"], capture_output=True, text=True, check=False, cwd="/")
    tops = [line.partition("TOP=")[2].strip() for line in shown.stderr.splitlines() if "TOP=" in line]
    found = [Path(top) / "include" for top in tops] + [Path(NVCC).resolve().parents[1] / "include"]
    return next((folder for folder in found if (folder / "cuda_bf16.h").exists()), None)


def build(program, *sources, folder, words=()):
    """Compile a check of the host's with g++ and return the program."""
    out = folder / program
    common = [GXX, "-std=c++20", "-O1", f"-I{HARNESS}", f"-I{EMULATOR}", "-pthread", "-o", str(out)]
    done = subprocess.run([*common, *words, *map(str, sources)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return out


@pytest.mark.skipif(NVCC is None or shutil.which("make") is None, reason="needs nvcc and make")
def test_one_command_builds_it_without_a_warning(tmp_path):
    # All four targets take minutes. What builds for the oldest builds for newer ones, while no source tells them apart.
    targets = [] if os.environ.get("TOKENYARD_LONG_TESTS") else ["ARCHS=80"]
    sources = [*HARNESS.glob("*.cu"), *HARNESS.glob("*.h"), *HARNESS.glob("kernels/*")]
    assert len(sources) > 20 and not [file for file in sources if "__CUDA_ARCH" in file.read_text()]
    words = ["make", "-s", f"-j{os.cpu_count()}", "-C", str(HARNESS), f"BUILD={tmp_path}", *targets]
    built = subprocess.run(words, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-4000:]
    assert "warning" not in built.stderr
    program = tmp_path / "microbench"
    asked = subprocess.run([program, "--help"], capture_output=True, text=True, check=False)
    assert asked.returncode == 0 and "--cublaslt" in asked.stderr
    for words, problem in (
        (["--quick"], "--out FILE.jsonl is missing"),
        (["--out", "x", "--only", "gemms"], "no measurement is called 'gemms'"),
        (["--out", "x", "--fast"], "no such option: --fast"),
        (["--out"], "--out needs a value"),
    ):
        refused = subprocess.run([program, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert refused.returncode == 2 and problem in refused.stderr


@pytest.mark.skipif(GXX is None or cuda_headers() is None, reason="needs g++ and CUDA's headers")
def test_kernels_compute_what_plain_arithmetic_does(tmp_path):
    source = EMULATOR / "check_kernels.cpp"
    words = ["-DTOKENYARD_EMULATED", f"-I{cuda_headers()}"]
    program = build("kernels", source, folder=tmp_path, words=words)
    done = subprocess.run([program], capture_output=True, text=True, check=True)
    errors = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in done.stdout.splitlines()}
    assert len(errors) == 19
    for kernel, error in errors.items():
        # bf16 keeps 8 bits; sums in single precision, and whole numbers, are all but exact.
        exact = kernel.startswith(("plain_", "read_", "copy_", "count_"))
        assert error <= (1e-6 if exact else 4e-3), kernel


@pytest.fixture(scope="module")
def host(tmp_path_factory):
    if GXX is None:
        pytest.skip("needs g++")
    words = ["-x", "c++"]
    return build(
        "host", HARNESS / "records.cu", EMULATOR / "check_host.cpp", folder=tmp_path_factory.mktemp("host"), words=words
    )


@pytest.fixture
def twin(monkeypatch):
    """Return the twin's modules that need no PyTorch."""
    monkeypatch.syspath_prepend(str(TWIN))
    import records
    import sampling

    yield records, sampling
    for name in ("records", "sampling"):
        sys.modules.pop(name)


def summary(program, rule, elapsed, times):
    words = [program, "samples", *map(str, (rule.fewest, rule.most, rule.noise, rule.seconds, elapsed))]
    text = "\n".join(map(repr, times))
    done = subprocess.run(words, input=text, capture_output=True, text=True, check=True)
    enough, *figures, samples, settled = done.stdout.split()
    return bool(int(enough)), [float(each) for each in figures], int(samples), bool(int(settled))


@pytest.mark.parametrize("spread", [0.0005, 0.02, 0.5])
@pytest.mark.parametrize("count", [2, 7, 15, 60, 300])
def test_both_harnesses_stop_by_the_same_rule(host, twin, count, spread):
    _, sampling = twin
    draw = random.Random(count)
    times = [1e-4 * draw.gauss(1, spread / 3) + 1e-5 for _ in range(count)]
    for rule in (sampling.Rule(), sampling.Rule(7, 60, 0.01, 0.1)):
        for elapsed in (0.0, 0.2, 3.0):
            samples = sampling.Samples()
            for seconds in times:
                samples.add(seconds)
            own = samples.summary(rule)
            enough, figures, number, settled = summary(host, rule, elapsed, times)
            assert enough == samples.enough(rule, elapsed)
            assert figures == pytest.approx([own["seconds"], own["fastest"], own["noise"]], rel=1e-12)
            assert (number, settled) == (own["samples"], own["settled"])


def test_when_samples_are_enough(twin):
    _, sampling = twin
    rule, steady = sampling.Rule(fewest=5, most=9, noise=0.01, seconds=1.0), sampling.Samples()
    for _ in range(4):
        steady.add(1e-3)
    assert not steady.enough(rule, 0.5)
    # So slow a case that even the fewest take too long.
    assert steady.enough(rule, 4.1)
    steady.add(1e-3)
    assert steady.enough(rule, 0.0)
    wild = sampling.Samples()
    for i in range(8):
        wild.add(1e-3 * (1 + i))
    assert not wild.enough(rule, 0.5)
    assert wild.enough(rule, 1.1)
    wild.add(1e-3)
    assert wild.enough(rule, 0.5)
    assert wild.summary(rule)["settled"] is False


def test_one_slow_sample_in_a_hundred_is_no_noise(twin):
    _, sampling = twin
    samples = sampling.Samples()
    for i in range(100):
        samples.add(1.0 if i == 7 else 1e-3)
    assert samples.summary(sampling.Rule())["seconds"] == 1e-3
    assert samples.noise() == 0


def write(program, path, *words):
    return subprocess.run([program, "records", path, *words], capture_output=True, text=True, check=False)


def test_a_file_goes_on_where_it_ended(host, tmp_path):
    path = tmp_path / "run.jsonl"
    assert write(host, path, "GPU, driver 1", "one", "two", "dead").returncode == 0
    whole = path.read_text()
    path.write_text(whole + '{"key": "three", "kind": "resu')
    again = write(host, path, "GPU, driver 1", "one", "two", "three", "dead")
    # A point at which the GPU gave up is not tried again, one that was cut short is.
    assert again.stdout.split() == ["one", "two", "dead"]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert path.read_text().startswith(whole)
    assert [line.get("key") for line in lines] == [None, "one", "two", "dead", "three"]
    assert lines[4]["point"] == {"m": 16, "name": 'a "quoted" one', "nothing": None}
    assert lines[4]["seconds"] == 1.5e-6


def test_a_file_of_another_machine_or_of_nothing_is_left_alone(host, tmp_path):
    path = tmp_path / "run.jsonl"
    write(host, path, "GPU, driver 1", "one")
    whole = path.read_text()
    refused = write(host, path, "GPU, driver 2", "two")
    assert refused.returncode == 2
    assert "begun on another machine (GPU, driver 1, here GPU, driver 2)" in refused.stderr
    assert path.read_text() == whole
    path.write_text("notes\n")
    assert "is no record of this version" in write(host, path, "GPU, driver 1", "two").stderr
    assert path.read_text() == "notes\n"
    assert write(host, tmp_path / "none" / "run.jsonl", "GPU", "one").returncode == 2


def test_the_twin_goes_on_in_a_file_of_the_harness(host, twin, tmp_path):
    records, _ = twin
    path = tmp_path / "run.jsonl"
    write(host, path, "GPU, driver 1", "one", "dead")
    path.write_text(path.read_text() + '{"cut')
    own = records.Records(path, "GPU, driver 1")
    assert (own.empty, own.has("one"), own.has("dead"), own.has("two")) == (False, True, True, False)
    own.write({"kind": "result", "seconds": 1.23456789e-5, "noise": float("nan")}, "two")
    assert json.loads(path.read_text().splitlines()[-1]) == {
        "key": "two", "kind": "result", "seconds": 1.23457e-5, "noise": None,
    }  # fmt: skip
    assert write(host, path, "GPU, driver 1", "two").stdout.split() == ["two"]
    with pytest.raises(records.WrongFile, match="another machine"):
        records.Records(path, "CPU, driver none")


def test_a_twin_without_a_gpu_says_so(tmp_path):
    torch = pytest.importorskip("torch")
    words = [sys.executable, str(TWIN), "--out", str(tmp_path / "run.jsonl"), "--only", "launch,memory"]
    if not torch.cuda.is_available():
        refused = subprocess.run(words, capture_output=True, text=True, check=False)
        assert refused.returncode == 1 and "no GPU can be used" in refused.stderr
    done = subprocess.run([*words, "--device", "cpu", "--quick"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert (lines[0]["device"], lines[-1]["kind"], lines[-1]["errors"]) == ("cpu", "end", 0)
    assert {line["op"] for line in lines[1:-1]} == {"launch", "memory"}


def test_commands_of_the_documents_are_ones_that_run_takes():
    texts = [(REPO / "docs" / name).read_text() for name in ("gpu-runs.md", "calibration.md")]
    commands = [words for text in texts for words in re.findall(r"microbench/run\.py ([^`|\\]*?)(?: 2>|`|\n)", text)]
    assert len(commands) >= 5
    suites = set(re.findall(r'{"(\w+)", measure_', (HARNESS / "main.cu").read_text()))
    spec = importlib.util.spec_from_file_location("harness_run", HARNESS / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    for words in commands:
        options = run._options(shlex.split(words))
        assert set(filter(None, options.only.split(","))) <= suites
