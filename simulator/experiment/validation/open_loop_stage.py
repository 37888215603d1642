"""What served the stages of a measured open-loop run, and the requests that were sent."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError, Streams, to_ps, unknown
from simulator.experiment.validation.known_engines import ServedBy, engine_named
from simulator.experiment.validation.known_names import checkpoint_named, default_sampling, hardware_named
from simulator.experiment.validation.measured_csv import Row
from simulator.experiment.validation.setup import Setup
from simulator.workload.generators.arrivals import Constant, Poisson
from simulator.workload.generators.prompt_pool import PromptPool
from simulator.workload.table import PrefixTable, Workload

_PAUSE_S = 60.0
_PROCESSES: dict[str, type[Constant] | type[Poisson]] = {"": Constant, "constant": Constant, "poisson": Poisson}


def engine_of(row: Row) -> ServedBy:
    """Return what simulates a stage's engine; runs are named by the day they were made on."""
    return engine_named(row.text("engine"), row.text("engine_version"), row.text("measured_on") or row.text("run"))


def setup_of(row: Row) -> Setup:
    """Return what a stage was measured on; InputError where it is not known or not modelled."""
    model, quantization = checkpoint_named(row.text("model"))
    served_by = engine_of(row)
    return Setup(
        hardware_named(row.text("system")),
        model,
        engine=served_by.engine,
        version=served_by.version,
        tensor_parallel=row.size("tp"),
        quantization=quantization,
        max_num_seqs=row.count("max_num_seqs"),
        max_num_batched_tokens=row.count("max_num_batched_tokens"),
        max_model_len=row.count("max_model_len"),
        sampling=default_sampling(model) if served_by.engine == "vllm" else None,
    )


def workload_of(stages: Sequence[Row], seed: int) -> Workload:
    """Return the requests of a run's stages, one stage after another; InputError where a row does not say them."""
    streams, row, starts, clock = Streams(seed), stages[0], [], 0.0
    for stage in stages:
        starts.append(clock + _arrivals(stage, streams.get(f"arrivals {stage.text('stage')}")))
        clock = float(starts[-1][-1]) + _PAUSE_S
    counts = [len(each) for each in starts]
    outputs = [round(stage.latency("output_tokens")) for stage in stages]
    arrival = np.array([to_ps(second) for second in np.concatenate(starts).tolist()], np.int64)
    system = row.count("system_prompt_tokens") or 0
    prompt = round(row.number("measured_prompt_tokens_mean") or 0) or system + row.size("question_tokens")
    return Workload(
        row.text("run"),
        "constant rates, prompts from a pool",
        arrival,
        np.full(len(arrival), prompt, np.int64),
        np.repeat(np.array(outputs, np.int64), counts),
        prefix=_prefixes(row, system, prompt, len(arrival), streams),
    )


def _prefixes(row: Row, system: int, prompt: int, requests: int, streams: Streams) -> PrefixTable | None:
    """Return which content prompts share; None where no pool of them is recorded."""
    groups, users = row.count("num_system_prompts"), row.count("users_per_system_prompt")
    if not groups and not users:
        return None
    return PromptPool(groups or 1, users or 1, system, prompt).prefixes(requests, streams.get("prompts"))


def _arrivals(stage: Row, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return when a stage's requests are sent, in seconds from its start."""
    name = stage.text("arrivals").lower()
    if name not in _PROCESSES:
        problem = unknown("arrivals", name, [each for each in _PROCESSES if each])
        raise InputError(problem.message, where=stage.where, hint=problem.hint)
    rate = f"{stage.latency('request_rate')!r}/s"
    process = _PROCESSES[name].model_validate({"process": name or "constant", "rate": rate})
    return process.times(rng, stage.size("requests"), None)
