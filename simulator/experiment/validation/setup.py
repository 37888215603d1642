"""What served a measured run: GPU, model, engine and its settings, as far as they were recorded."""

from dataclasses import dataclass
from typing import Any

from simulator.core.yaml_source import Place, YamlSource
from simulator.experiment.checking import validate
from simulator.experiment.named import scheduler_of
from simulator.experiment.schema import Experiment

# What a scheduler calls the most requests and the most tokens of an iteration, where not as vLLM's.
_LIMITS = {"trtllm": ("max_batch_size", "max_num_tokens")}


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

    def _instance(self) -> dict[str, Any]:
        names = _LIMITS.get(scheduler_of(self.engine), ("max_num_seqs", "max_num_batched_tokens"))
        limits = dict(zip(names, (self.max_num_seqs or None, self.max_num_batched_tokens or None), strict=True))
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
