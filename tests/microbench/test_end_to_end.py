"""The whole path with PyTorch on this machine's processor: the engine computes what it should, and is predicted."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[2] / "hardware_profiles/microbench"
# A shared processor is up to twice as slow while others use its caches and its other hyperthread. That is all that
# may be: a model, a batch or a unit that is wrong shows as more, and a wrong part of it in the ratio of two figures.
FACTOR, RATIO = 2.0, 1.8


def torch_python():
    """Return a Python with PyTorch, as the harness finds it: this one, python3, or the one TORCH_PYTHON names."""
    spec = importlib.util.spec_from_file_location("harness_run", HARNESS / "run.py")
    run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(run)
    return run.torch_python()[0]


PYTHON = torch_python()
pytestmark = pytest.mark.skipif(PYTHON is None, reason="no Python with PyTorch here (TORCH_PYTHON can name one)")


def run(*words):
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)


def test_the_engine_computes_what_plain_arithmetic_does():
    done = run(PYTHON, Path(__file__).parent / "check_model.py")
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    # bf16 moves logits a little; a wrong block, position or mask moves them as far as another request's tokens are.
    assert found["engine"] < 0.25 < 0.8 < found["wrong"]
    if found["kernel"] is not None:
        assert found["kernel"] < 1e-4


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of one calibration, service and validation, and what it printed."""
    out = tmp_path_factory.mktemp("end_to_end")
    done = run(sys.executable, HARNESS / "end_to_end.py", "--device", "cpu", "--out", out, "--tolerance", "100")
    assert done.returncode in (0, 1), done.stderr[-4000:]
    return out, done


def test_what_is_served_is_what_the_simulator_predicts(finished):
    out, done = finished
    assert done.returncode == 0, done.stdout
    verdict = json.loads((out / "validation.json").read_text())
    (served,) = verdict["groups"]
    assert served["requests"] > 20 and served["iterations"]["count"] > 100
    errors = {metric: served["errors"][metric]["mean"] for metric in ("ttft", "tpot", "e2el")}
    for error in (served["iterations"]["mean_error"], *errors.values()):
        assert 1 / FACTOR < 1 + error < FACTOR
    assert 1 / RATIO < (1 + errors["ttft"]) / (1 + errors["tpot"]) < RATIO
    assert all(f"{error:+.1%}" in done.stdout for error in errors.values())


def test_a_wrong_profile_or_engine_is_found_wrong(finished, tmp_path):
    out, _ = finished
    for name in ("warm_up", "served"):
        shutil.copytree(out / name, tmp_path / name)
    for name in ("run.jsonl", "profile.yaml", "profile.npz"):
        shutil.copy(out / name, tmp_path / name)
    slow = re.sub(r"iteration: .*", "iteration: 100ms", (out / "engine.yaml").read_text())
    (tmp_path / "engine.yaml").write_text(slow)
    again = run(sys.executable, HARNESS / "end_to_end.py", "--device", "cpu", "--out", tmp_path, "--tolerance", "100")
    # Nothing is measured again, and a host as slow as several iterations shows.
    assert again.returncode == 1, again.stderr[-2000:]
    assert "$" not in again.stderr
    assert "worst error of a mean" in again.stdout


@pytest.mark.parametrize(
    ("words", "status", "problem"),
    [
        (["--shape", "tiny"], 1, "no GPU can be used"),
        (["--shape", "tiny", "--device", "cpu", "--kv-blocks", "10"], 2, "too small: a request needs 22 blocks"),
        (["--shape", "huge", "--device", "cpu"], 2, "no shape is called 'huge'; known: llama-3.1-8b, tiny"),
        (["--shape", "tiny", "--device", "cpu", "--skip", "9"], 2, "none after the first 9"),
    ],
)
def test_bad_states_are_answered(tmp_path, words, status, problem):
    if status == 1 and "False" not in run(PYTHON, "-c", "import torch; print(torch.cuda.is_available())").stdout:
        pytest.skip("there is a GPU here")
    (tmp_path / "trace.csv").write_text("arrival,prompt,output\n0,300,40\n0.2,90,30\n")
    common = ["--trace", tmp_path / "trace.csv", "--out", tmp_path / "out"]
    done = run(PYTHON, HARNESS / "serve_real.py", *common, *words)
    assert done.returncode == status and problem in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("out/*/requests.jsonl"))


def test_without_pytorch_it_says_what_to_do(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TORCH_PYTHON"} | {"PATH": "/nowhere"}
    if importlib.util.find_spec("torch") is not None:
        pytest.skip("this Python has PyTorch")
    words = [sys.executable, str(HARNESS / "end_to_end.py"), "--device", "cpu", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 2 and "TORCH_PYTHON" in done.stderr
