"""How many KV blocks an instance has, computed as the engine does."""

from simulator.core import InputError
from simulator.core.units import GIB
from simulator.cost.parallelism import Parallelism
from simulator.hardware.engine_profile import Build, EngineProfile
from simulator.hardware.profile import Profile
from simulator.model import Transformer


def kv_blocks(
    model: Transformer,
    profile: Profile,
    engine: EngineProfile,
    build: Build,
    parallel: Parallelism,
    block_size: int,
    gpu_memory_utilization: float,
) -> int:
    """Return the KV blocks that fit beside weights and the engine's own memory; InputError when none do.

    ``utilization * capacity - weights - reserved`` of each GPU, as vLLM computes it after its profiling run, or
    ``utilization * (capacity - weights - reserved)`` for an engine that takes a share of the free memory; over
    ``block_size * KV bytes a token``. Layers with a window are counted as if they kept everything.
    """
    weights = model.weight_bytes(parallel.tensor, parallel.expert, parallel.pipeline)
    share, capacity, reserved = gpu_memory_utilization, profile.memory.capacity, build.reserved_memory
    if engine.memory_of == "free":
        free = share * (capacity - weights - reserved)
    else:
        free = share * capacity - weights - reserved
    stage = max(sum(stage.layers) for stage in model.stages(parallel.pipeline)) / model.layers
    blocks = int(free // (block_size * stage * model.kv_bytes_per_token(parallel.tensor)))
    if blocks < 1:
        raise InputError(
            f"{model.name} does not fit {profile.name}: {weights / GIB:.1f} GiB of weights a GPU and "
            f"{reserved / GIB:.1f} GiB reserved leave no room for KV blocks in "
            f"{share * capacity / GIB:.1f} GiB ({share:.0%} of {capacity / GIB:.1f} GiB)",
            hint="raise tensor_parallel or gpu_memory_utilization, or take a GPU with more memory",
        )
    return blocks
