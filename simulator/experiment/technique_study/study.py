"""All that docs/techniques.md shows, as plain data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from simulator.experiment.load import load_experiment
from simulator.experiment.technique_study.ffn_shares import ffn_shares
from simulator.experiment.technique_study.loads import compare, experiments
from simulator.experiment.technique_study.prefix_hits import hit_rates
from simulator.experiment.technique_study.steps import BATCHES, LONG, PROMPT, SHORT, StepGains, step_gains
from simulator.experiment.techniques.describe import describe_techniques
from simulator.hardware.registry import load_profile


def study(folder: Path | None, trace: Path | None, progress: Callable[[str], None]) -> dict[str, Any]:
    """Return techniques, their experiments' gains, and known figures beside ours.

    ``folder`` holds other experiments than the shipped ones; without ``trace``, a Mooncake trace, there are no hit
    rates.
    """
    found = []
    for path in experiments(folder):
        progress(path.stem)
        found.append(_compared(path))
    hits = None
    if trace is not None:
        progress(trace.name)
        hits = [rate._asdict() for rate in hit_rates(trace)]
    return {
        "techniques": describe_techniques(),
        "experiments": found,
        "batches": list(BATCHES),
        "contexts": {"short": SHORT, "long": LONG},
        "prompt": PROMPT,
        "ridge": _ridge(folder),
        "ffn_shares": [share._asdict() for share in ffn_shares()],
        "hit_rates": hits,
    }


def _compared(path: Path) -> dict[str, Any]:
    comparison, steps = compare(path), step_gains(path)
    variants = []
    for name, measured in comparison.variants.items():
        gains = steps.get(name)
        variants.append(
            {
                "name": name,
                "techniques": comparison.techniques[name],
                "measured": [each._asdict() for each in measured],
                "gains": comparison.gains(name),
                "steps": None if gains is None else _plain(gains),
            }
        )
    return {"name": comparison.name, "title": comparison.title, "loads": comparison.loads, "variants": variants}


def _plain(gains: StepGains) -> dict[str, Any]:
    return {"prompt": gains.prompt, "short": gains.short._asdict(), "long": gains.long._asdict()}


def _ridge(folder: Path | None) -> dict[str, Any]:
    """Return the tokens at which a 16-bit product's FLOPs take as long as its weights: by datasheet and as measured."""
    profile = load_profile(load_experiment(experiments(folder)[0]).base.cluster.instances[0].hardware)
    # 2 FLOPs and 2 bytes a weight: tokens at the ridge are FLOP/s over bytes/s.
    peak = profile.peak.get("bfloat16")
    return {
        "gpu": profile.gpu,
        "datasheet": None if peak is None else peak / profile.memory.bandwidth,
        "measured": profile.gemm.compute / profile.gemm.bandwidth,
    }
