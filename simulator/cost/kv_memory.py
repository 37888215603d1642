"""How many KV blocks an instance has, computed as the engine does."""

from simulator.core import InputError
from simulator.core.units import GIB
from simulator.hardware.profile import Profile
from simulator.model.transformer import Transformer


def kv_blocks(
    model: Transformer, profile: Profile, tensor_parallel: int, block_size: int, gpu_memory_utilization: float
) -> int:
    """Return the KV blocks that fit beside weights and the engine's own memory; InputError when none do.

    ``(utilization * capacity - weights / tp - reserved) / (block_size * KV bytes a token on each GPU)``, as vLLM
    computes it after its profiling run.
    """
    weights = model.parameters * model.weight_bytes_each / tensor_parallel
    budget = gpu_memory_utilization * profile.memory.capacity
    free = budget - weights - profile.host.reserved_memory
    heads = model.kv_heads_each(tensor_parallel)
    block = block_size * 2 * model.layers * heads * model.head_dim * model.kv_bytes_each
    blocks = int(free // block)
    if blocks < 1:
        raise InputError(
            f"{model.name} does not fit {profile.name}: {weights / GIB:.1f} GiB of weights a GPU and "
            f"{profile.host.reserved_memory / GIB:.1f} GiB reserved leave no room for KV blocks in "
            f"{budget / GIB:.1f} GiB ({gpu_memory_utilization:.0%} of {profile.memory.capacity / GIB:.1f} GiB)",
            hint="raise tensor_parallel or gpu_memory_utilization, or take a GPU with more memory",
        )
    return blocks
