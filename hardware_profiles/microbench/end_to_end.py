"""Calibrate, serve, validate: from this machine's kernels to what the simulator says of a real engine on it.

Five steps, each skipped if its results are in the folder already, so that a call goes on where another ended, and what
was measured elsewhere can be brought here and evaluated:

1. ``*.jsonl``: the kernels, measured by run.py (on a processor by the PyTorch twin)
2. ``profile.yaml``: the hardware profile fitted to them
3. ``warm_up/``, ``served/``: serve_real.py at several loads
4. ``engine.yaml``: what its host adds to the kernels, fitted to ``warm_up`` alone
5. ``served`` simulated with both, beside what was measured

Needs Tokenyard, and for steps 1 and 3 a Python with PyTorch (this one, python3, or the one TORCH_PYTHON names). Exits 1
beyond the tolerance and where a step failed.

Example: python hardware_profiles/microbench/end_to_end.py --device cpu --out results/end_to_end
"""

import argparse
import csv
import json
import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from run import torch_python
from serving.trace import read_trace

from simulator.core import PS_PER_S, InputError, Request
from simulator.experiment.assemble import assemble
from simulator.experiment.validation.predict import predict
from simulator.experiment.validation.request_run import RequestRun, read_run, run_folders
from simulator.experiment.validation.scores import compare, worst_mean

_HERE = Path(__file__).resolve().parent
_METRICS = ("ttft", "tpot", "e2el")
_SMALL = ["--shape", "tiny", "--device", "cpu", "--max-num-seqs", "16", "--max-num-batched-tokens", "256"]
Float = NDArray[np.float64]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do all of it and return the exit code; tables go to stdout, progress to stderr."""
    options = _options(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        _measure(options)
        _serve(options)
        _calibrate(options)
        verdict = validate(options.out / "served", options.out / "engine.yaml")
    except subprocess.CalledProcessError as problem:
        sys.stderr.write(f"this step failed (exit code {problem.returncode})\n")
        return problem.returncode if problem.returncode in (1, 2, 130) else 1
    except (InputError, ValueError) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    (options.out / "validation.json").write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")
    return _print(verdict, options.tolerance)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="end_to_end.py", description="Calibrate, serve, validate.")
    add = parser.add_argument
    add("--out", type=Path, default=Path("results/end_to_end"), help="the folder of all results")
    add("--device", choices=["gpu", "cpu"], default="gpu", help="cpu: a tiny shape on one thread")
    add("--quick", action="store_true", help="fewer kernels")
    add("--trace", type=Path, help="what to serve; default: random lengths that suit the tiny shape")
    add("--rates", default="", help="requests/s of what is validated, comma-separated; default: 3 (on a GPU 4,8,12)")
    add("--warm-up-rates", default="", help="of what the host is fitted to; default: 1,2,5 (on a GPU 2,6,10)")
    add("--seconds", type=float, help="of each run; default: 12 (on a GPU 60)")
    add("--tolerance", type=float, default=25.0, help="largest error of a mean that passes, in percent")
    return parser.parse_args(arguments)


def _measure(options: argparse.Namespace) -> None:
    """Measure kernels unless some were, and fit a profile."""
    records = sorted(options.out.glob("*.jsonl"))
    if not records:
        records = [options.out / "run.jsonl"]
        quick = ["--quick"] * options.quick
        if options.device == "gpu":
            _run([sys.executable, str(_HERE / "run.py"), "--out", str(records[0]), *quick])
        else:
            _run([*_torch(), str(_HERE / "torch_twin"), "--out", str(records[0]), "--device", "cpu", "--quick"])
    if not (options.out / "profile.yaml").exists():
        replays = [word for record in records for word in ("--replay", str(record))]
        into = ["--into", str(options.out / "profile.yaml"), "--out", str(options.out / "plots")]
        _tokenyard(["calibrate", "gpu", *replays, *into])


def _serve(options: argparse.Namespace) -> None:
    """Serve what the host is fitted to and what is validated, unless both were."""
    on_gpu = options.device == "gpu"
    loads = {
        "warm_up": options.warm_up_rates or ("2,6,10" if on_gpu else "1,2,5"),
        "served": options.rates or ("4,8,12" if on_gpu else "3"),
    }
    seconds = options.seconds or (60 if on_gpu else 12)
    for seed, (name, rates) in enumerate(loads.items()):
        folder = options.out / name
        if not list(folder.glob("*/requests.jsonl")):
            words = [] if on_gpu else _SMALL
            trace = options.trace
            if trace is None:
                trace = _made_up(options.out / f"{name}.csv", seed)
                words = [*words, "--shape", "tiny"]
            words = [*words, "--trace", str(trace), "--rates", rates, "--seconds", str(seconds)]
            if options.trace:
                # What is validated is of the trace's other half than what is fitted to.
                half = str(len(read_trace(options.trace)) // 2)
                words += ["--requests" if name == "warm_up" else "--skip", half]
            _run([*_torch(), str(_HERE / "serve_real.py"), *words, "--out", str(folder)])
        for run in run_folders(folder):
            _adopt(run, options.out / "profile.yaml")


def _adopt(run: Path, profile: Path) -> None:
    """Write into a run's settings which profile it is simulated with, and where its model's shape is."""
    path, shape = run / "meta.json", run / "config.json"
    meta = json.loads(path.read_bytes())
    meta["hardware"]["device_name"] = str(profile.resolve())
    shape.write_text(json.dumps(meta["config"], indent=1) + "\n", encoding="utf-8")
    meta["model"] = str(shape.resolve())
    path.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _calibrate(options: argparse.Namespace) -> None:
    """Fit the host's constants to the warm-up runs, unless they were."""
    if not (options.out / "engine.yaml").exists():
        files = [str(_HERE / "serving/engine.yaml"), "--recipe", str(_HERE / "serving/recipe.yaml")]
        into = ["--into", str(options.out / "engine.yaml")]
        _tokenyard(["calibrate", "engine", *files, "--data", str(options.out), *into])


def validate(folder: Path, engine: Path) -> dict[str, Any]:
    """Compare recorded runs of serve_real.py with the simulator; as ``tokenyard validate requests`` does.

    A run also has ``iterations``: how many, the mean signed error of their times, and ``r2``, the share of the variance
    of measured iteration times that the predicted ones explain.
    """
    groups = []
    for path in run_folders(folder):
        run = read_run(path)
        run = replace(run, setup=replace(run.setup, engine=str(engine)))
        prediction = predict(run.setup, run.workload)
        groups.append(
            {"run": path.name, "requests": len(run.workload), "preemptions": prediction.preemptions}
            | {"iterations": compare_iterations(path, run)}
            | compare({name: (getattr(prediction, name), getattr(run, name)) for name in _METRICS})
        )
    return {"overall": worst_mean(groups), "groups": groups, "not_covered": [], "assumptions": []}


def compare_iterations(folder: Path, run: RequestRun) -> dict[str, float]:
    """Return how well the times of recorded iterations are predicted from what was in each."""
    cost = assemble(run.setup.experiment(run.name), run.workload).costs[0]
    predicted, measured, before = [], [], 0.0
    for start, end, decodes, context, chunks in _iterations(folder / "iterations.csv"):
        longest = _Longest(context / max(decodes, 1))
        if chunks:
            own = [(_after(past), new) for past, new in chunks]
            took = cost.mixed(own, sum(new for _, new in chunks), decodes, context, longest)
        else:
            took = cost.decode_run(decodes, context, longest)[0]
        predicted.append(took / PS_PER_S)
        # Launched ahead, it began when the one before it ended.
        measured.append(end - max(start, before))
        before = end
    ours, theirs = np.array(predicted), np.array(measured)
    error = float(((ours - theirs) ** 2).sum() / ((theirs - theirs.mean()) ** 2).sum())
    return {"count": len(ours), "mean_error": float(ours.mean() / theirs.mean() - 1), "r2": 1 - error}


class _Longest:
    """The longest context of a batch, where only its mean was recorded."""

    def __init__(self, longest: float) -> None:
        self.longest = int(longest)


def _iterations(path: Path) -> Iterator[tuple[float, float, int, int, list[tuple[int, int]]]]:
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            chunks = [chunk.partition("+") for chunk in row["chunks"].split()]
            work = [(int(past), int(new)) for past, _, new in chunks]
            yield float(row["start"]), float(row["end"]), int(row["decodes"]), int(row["decode_context"]), work


def _after(past: int) -> Request:
    """Return a request that has so many tokens in the cache."""
    request = Request(0, 0, past + 1, 1)
    request.computed = past
    return request


def _made_up(path: Path, seed: int) -> Path:
    """Write a trace that suits the tiny shape: Poisson arrivals, lengths that spread over what was measured."""
    draw, at = random.Random(seed), 0.0
    lines = ["arrival,prompt,output"]
    for _ in range(200):
        at += draw.expovariate(1.0)
        lines.append(f"{at:.6f},{draw.randint(16, 400)},{draw.randint(4, 60)}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _print(verdict: dict[str, Any], tolerance: float) -> int:
    from simulator.cli.validation_tables import print_runs

    print_runs(verdict)
    for run in verdict["groups"]:
        of = run["iterations"]
        about = f"mean error {of['mean_error']:+.1%}, R^2 {of['r2']:.3f}"
        sys.stdout.write(f"{run['run']}: {run['requests']} requests, {of['count']} iterations, {about}\n")
    worst, at = verdict["overall"]["worst_mean_error"], verdict["overall"]["worst"]
    text = f"worst error of a mean {worst:.1%} ({at['metric']} of {at['run']}; limit {tolerance:g}%)"
    sys.stdout.write(text + "\n")
    return int(100 * worst > tolerance)


def _torch() -> list[str]:
    python, _ = torch_python()
    if python is None:
        raise InputError("no Python with PyTorch here", hint="pip install torch, or name one in TORCH_PYTHON")
    return [python]


def _run(words: list[str]) -> None:
    sys.stderr.write(f"$ {' '.join(words)}\n")
    subprocess.run(words, check=True)


def _tokenyard(words: list[str]) -> None:
    sys.stderr.write(f"$ tokenyard {' '.join(words)}\n")
    subprocess.run([sys.executable, "-m", "simulator.cli.main", *words], check=True, stdout=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
