"""A measured serving point: who served it, under which protocol, and what came out."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from simulator.core import InputError
from simulator.experiment.validation.known_engines import ServedBy, engine_named
from simulator.experiment.validation.known_names import checkpoint_named, default_sampling, hardware_named
from simulator.experiment.validation.measured_csv import Row, read_rows
from simulator.experiment.validation.setup import Setup
from simulator.model.registry import load_model
from simulator.model.shape import Experts
from simulator.workload.generators.benchmark_client import BenchmarkClient

_REQUIRED = ("system", "engine", "model", "tp", "isl_tokens", "osl_tokens", "concurrency", "mean_ttft_ms",
             "mean_tpot_ms")  # fmt: skip
# The export multiplies the two: tp = ep = n squared are n GPUs that split layers n ways and keep experts whole.
_SQUARED_GPUS = {4: 2, 16: 4, 64: 8}
_TOKENS = 64  # budgets are multiples of this


@dataclass(frozen=True)
class Protocol:
    """How an origin's client runs a point: requests and warm-ups as multiples of the concurrency.

    ``shortest`` is the least length as a share of nominal (lengths are uniform up to nominal), ``gap_s`` the client's
    time from an answer to its next request. ``samples``: the client leaves it to vLLM how tokens are chosen, else they
    are chosen greedily. ``asynchronous``: vLLM was asked to schedule asynchronously. ``budgets``, by engine: the server
    was started with an iteration's most tokens set to prompt + concurrency + this, rounded up, and its most requests to
    the concurrency.
    """

    shortest: float = 1.0
    requests: int = 10
    warmups: int = 0
    gap_s: float = 0.0
    samples: bool = False
    asynchronous: bool = False
    budgets: Mapping[str, int] = field(default_factory=dict)


# InferenceX states its protocol. Its scripts start vLLM with --async-scheduling (benchmarks/70b_fp8_h200_slurm.sh), and
# TensorRT-LLM, which does not chunk prompts, with room for one beside all decodes. NVIDIA's sweeps state none: TTFTs
# that are equal whatever the output length show fixed lengths in lock-step, which need a client that misses an
# iteration between two requests; the budget is what AIConfigurator, whose sweeps they are, gives the servers it
# generates. InferenceX's client asks for temperature 0; AIPerf, theirs, for nothing.
PROTOCOLS = {
    "inferencex": Protocol(shortest=0.8, warmups=2, asynchronous=True, budgets={"trtllm": 64}),
    "nvidia-aic-internal": Protocol(gap_s=0.002, samples=True, budgets={"trtllm": 1500, "vllm": 1500}),
}


_ORIGINS = {"inferencemax": "inferencex"}  # what it was called before


@dataclass(frozen=True)
class Point:
    """One row of measured points; times in ms, as means over requests, NaN where they were not measured."""

    where: str
    system: str
    engine: str
    version: str
    model: str
    precision: str
    tensor_parallel: int
    pipeline_parallel: int
    attention_dp: int
    expert_parallel: int
    isl: int
    osl: int
    concurrency: int | None
    ttft: float
    tpot: float
    origin: str
    flag: str
    measured_on: str
    replicates: int
    replicate_spread: float

    @property
    def parallelism(self) -> str:
        """Which GPUs do what: ``tp8 ep``."""
        parts = [f"tp{self.tensor_parallel}"]
        parts += [f"pp{self.pipeline_parallel}"] if self.pipeline_parallel > 1 else []
        parts += [f"dp{self.attention_dp}"] if self.attention_dp > 1 else []
        return " ".join(parts + (["ep"] if self.expert_parallel > 1 else []))

    @property
    def counts_for_tpot(self) -> bool:
        """Whether the row's TPOT was measured and is to be trusted."""
        return not self._doubtful and not math.isnan(self.tpot)

    @property
    def counts_for_ttft(self) -> bool:
        """Whether the row's TTFT was measured, is to be trusted, and is not that of a queue that grew to the end."""
        flagged = self._doubtful or "ttft doubtful" in self.flag or "queue-saturated" in self.flag
        return not flagged and not math.isnan(self.ttft)

    @property
    def _doubtful(self) -> bool:
        return self.flag.startswith("doubtful")

    @property
    def served_by(self) -> ServedBy:
        """Which engine profile simulates the point."""
        return engine_named(self.engine, self.version, self.measured_on)

    def setup(self) -> Setup:
        """Return what served the point; InputError where it is not known or not modelled."""
        model, quantization = checkpoint_named(self.model, self.precision)
        # Files state it of models without experts, too, where engines pass over it.
        experts = self.expert_parallel if _has_experts(model) else 1
        if self.attention_dp > 1:
            raise InputError(f"data-parallel attention over {self.attention_dp} is not modelled")
        if 1 < experts < self.tensor_parallel:
            raise InputError(f"experts on {experts} of {self.tensor_parallel} GPUs are not modelled")
        if experts > self.tensor_parallel:
            raise InputError(
                f"experts on {experts} GPUs with attention on {self.tensor_parallel} each need data-parallel "
                "attention, which is not modelled"
            )
        requests, tokens = self._limits()
        engine, version, _ = self.served_by
        return Setup(
            hardware_named(self.system),
            model,
            engine=engine,
            version=version,
            asynchronous=True if self._protocol.asynchronous and engine == "vllm" else None,
            tensor_parallel=self.tensor_parallel,
            pipeline_parallel=self.pipeline_parallel,
            expert_parallel=experts > 1 or self._keeps_experts_whole(model, quantization),
            quantization=quantization,
            max_num_seqs=requests,
            max_num_batched_tokens=tokens,
            sampling=default_sampling(model) if self._protocol.samples and engine == "vllm" else None,
        )

    def _limits(self) -> tuple[int | None, int | None]:
        """Return the most requests and tokens of an iteration that the origin's scripts set; None: the defaults."""
        room = self._protocol.budgets.get(self.served_by.engine)
        if room is None or not self.concurrency:
            return None, None
        return self.concurrency, -(-(self.isl + self.concurrency + room) // _TOKENS) * _TOKENS

    @property
    def _protocol(self) -> Protocol:
        return PROTOCOLS.get(self.origin, Protocol())

    def _keeps_experts_whole(self, model: str, quantization: str | None) -> bool:
        """Tell whether experts cannot be split this way, so that the engine must have kept them whole."""
        shape = load_model(model).with_precision(quantization, "auto")
        try:
            shape.check_split(self.tensor_parallel, 1, self.pipeline_parallel)
        except InputError:
            return _has_experts(model)
        return False

    def client(self) -> BenchmarkClient:
        """Return the client of the point's origin, an origin without a known protocol having fixed lengths."""
        if not self.concurrency:
            raise InputError("the concurrency is not recorded")
        protocol, many = self._protocol, self.concurrency
        return BenchmarkClient(
            many,
            self.isl,
            self.osl,
            requests=protocol.requests * many,
            warmups=protocol.warmups * many,
            shortest=protocol.shortest,
            gap_s=protocol.gap_s,
        )

    def label(self) -> dict[str, Any]:
        """Return what identifies the point, for tables and JSON."""
        return {
            "system": self.system,
            "engine": self.engine,
            "engine_version": self.version,
            "model": self.model,
            "precision": self.precision or "native",
            "parallelism": self.parallelism,
            "origin": self.origin,
            "isl": self.isl,
            "osl": self.osl,
            "concurrency": self.concurrency,
        }


def _has_experts(model: str) -> bool:
    return any(isinstance(kind.mlp, Experts) for kind in load_model(model).kinds)


class Unreadable(NamedTuple):
    """A row that is no point, and why."""

    row: Row
    problem: InputError


def read_points(path: Path) -> list[Point]:
    """Return the points of a CSV file; InputError names the line of a cell that cannot be."""
    points, unreadable = points_and_rest(path)
    if unreadable:
        raise unreadable[0].problem
    return points


def points_and_rest(path: Path) -> tuple[list[Point], list[Unreadable]]:
    """Return the points of a CSV file and the rows that are none; InputError where no row is one."""
    points, unreadable = [], []
    for row in read_rows(path, _REQUIRED):
        try:
            points.append(_point(row))
        except InputError as problem:
            unreadable.append(Unreadable(row, problem))
    if not points:
        raise unreadable[0].problem if unreadable else InputError("no rows", where=str(path))
    return points, unreadable


def _point(row: Row) -> Point:
    tensor_parallel, experts = row.size("tp"), row.count("moe_ep") or 1
    if experts == tensor_parallel and tensor_parallel in _SQUARED_GPUS:
        tensor_parallel = experts = _SQUARED_GPUS[tensor_parallel]
    ttft, tpot = (_time(row, name) for name in ("mean_ttft_ms", "mean_tpot_ms"))
    if math.isnan(ttft) and math.isnan(tpot):
        raise InputError("neither mean_ttft_ms nor mean_tpot_ms is there", where=row.where)
    return Point(
        row.where,
        row.text("system"),
        row.text("engine").lower(),
        row.text("engine_version"),
        row.text("model"),
        row.text("gemm_dtype").lower(),
        tensor_parallel,
        row.count("pp") or 1,
        _attention_dp(row, max(tensor_parallel, experts)),
        experts,
        row.size("isl_tokens"),
        row.size("osl_tokens"),
        row.count("concurrency"),
        ttft,
        tpot,
        _ORIGINS.get(origin := row.text("origin").lower(), origin),
        row.text("flag"),
        row.text("measured_on"),
        row.count("replicates") or 1,
        row.number("replicate_spread") or 0.0,
    )


def _time(row: Row, column: str) -> float:
    """Return a time in ms, NaN where the cell is empty or, for TPOT, the output has one token."""
    if row.text(column) == "" or (column == "mean_tpot_ms" and row.count("osl_tokens") == 1):
        return math.nan
    return row.latency(column)


def _attention_dp(row: Row, gpus: int) -> int:
    """Return over how many groups of GPUs attention is data-parallel; some files say only that it is."""
    said = row.text("attention_dp").lower()
    if said in ("true", "yes", "on"):
        return gpus
    return 1 if said in ("false", "no", "off") else row.count("attention_dp") or 1
