"""What served a measured run: GPU, model, engine and its settings, as far as they were recorded."""

from dataclasses import dataclass
from typing import Any

from simulator.core.yaml_source import Place, YamlSource
from simulator.experiment.checking import validate
from simulator.experiment.named import scheduler_of
from simulator.experiment.schema import Experiment
from simulator.hardware.registry import load_profile

# What a scheduler calls the most requests and the most tokens of an iteration, where not as vLLM's.
_LIMITS = {"trtllm": ("max_batch_size", "max_num_tokens")}
# vLLM's default limits (requests, tokens of an iteration) go by the GPU: EngineArgs.get_batch_defaults of vLLM 0.9 and
# later has smaller ones below 70 GiB and on any A100, and twice to four times the tokens without a server before it.
_LARGE_BYTES = 70 * 2**30
_LARGE, _SMALL = {True: (1024, 8192), False: (1024, 16384)}, {True: (256, 2048), False: (256, 8192)}


@dataclass(frozen=True)
class Setup:
    """One serving instance (or ``replicas`` of it); None leaves a setting to the engine's default.

    ``hardware`` and ``model`` are names the registries know, ``tensor_parallel`` and ``pipeline_parallel`` counts of
    GPUs, ``kv_blocks`` those that requests can use.
    """

    hardware: str
    model: str
    engine: str = "vllm"
    version: str | None = None
    asynchronous: bool | None = None
    server: bool = True
    replicas: int = 1
    tensor_parallel: int = 1
    pipeline_parallel: int = 1
    expert_parallel: bool = False
    quantization: str | None = None
    kv_cache_dtype: str | None = None
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    max_model_len: int | None = None
    kv_blocks: int | None = None
    block_size: int | None = None
    gpu_memory_utilization: float | None = None
    prefix_caching: bool | None = None
    sampling: str | None = None

    def experiment(self, workload: str) -> Experiment:
        """Return the experiment that serves a workload of this name; InputError where it cannot be."""
        tree = {
            "name": "validation",
            "model": self.model,
            "workload": {"trace": workload},
            "cluster": {"instances": [self._instance()]},
        }
        return validate(YamlSource(tree, {(): Place(workload, workload)}))

    def _limits(self) -> tuple[int | None, int | None]:
        """Return the most requests and tokens of an iteration: those given, else vLLM's for the GPU, else None."""
        requests, tokens = self.max_num_seqs, self.max_num_batched_tokens
        if scheduler_of(self.engine) != "vllm" or (requests and tokens):
            return requests, tokens
        profile = load_profile(self.hardware)
        large = profile.memory.capacity >= _LARGE_BYTES and not profile.name.startswith("a100")
        usual_requests, usual_tokens = (_LARGE if large else _SMALL)[self.server]
        # vLLM lowers a default to what was asked for, too.
        requests = requests or min(usual_requests, tokens or usual_requests)
        return requests, tokens or max(usual_tokens, requests)

    def _instance(self) -> dict[str, Any]:
        names = _LIMITS.get(scheduler_of(self.engine), ("max_num_seqs", "max_num_batched_tokens"))
        limits = dict(zip(names, self._limits(), strict=True))
        engine = {"name": self.engine, "version": self.version, "async_scheduling": self.asynchronous}
        engine |= {} if self.server else {"server": False}
        settings = {
            "hardware": self.hardware,
            "count": self.replicas,
            "tensor_parallel": self.tensor_parallel,
            "pipeline_parallel": self.pipeline_parallel if self.pipeline_parallel > 1 else None,
            "expert_parallel": self.expert_parallel or None,
            "engine": _given(engine),
            "scheduler": _given(limits) or None,
            "quantization": self.quantization,
            "kv_cache_dtype": self.kv_cache_dtype,
            "kv_blocks": self.kv_blocks,
            "block_size": self.block_size,
            "gpu_memory_utilization": self.gpu_memory_utilization,
            "max_model_len": self.max_model_len,
            "prefix_caching": self.prefix_caching,
            "sampling": self.sampling,
        }
        return _given(settings)


def _given(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if value is not None}
