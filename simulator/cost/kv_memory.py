"""How many KV blocks an instance has, computed as the engine does."""

from typing import Literal, NamedTuple

from simulator.core import InputError
from simulator.core.units import GIB
from simulator.cost.parallelism import Parallelism
from simulator.hardware.engine_profile import Build, EngineProfile
from simulator.hardware.profile import Profile
from simulator.model import Transformer

UNBOUNDED = 2**40  # KV blocks where nothing is kept for a token


class Held(NamedTuple):
    """Bytes on each GPU of the fullest pipeline stage: of ``weights`` and all else that stays, and of a token's KV."""

    weights: float
    token: float

    @classmethod
    def of(cls, model: Transformer, parallel: Parallelism) -> "Held":
        """Return what a model takes. Layers with a window are counted as if they kept everything."""
        stage = max(sum(stage.layers) for stage in model.stages(parallel.pipeline)) / model.layers
        weights = model.weight_bytes(parallel.tensor, parallel.expert, parallel.pipeline)
        return cls(weights, stage * model.kv_bytes_per_token(parallel.tensor))


def room(
    profile: Profile, engine: EngineProfile, build: Build, weights: float, utilization: float | Literal["auto"]
) -> float:
    """Return the bytes that an engine leaves for KV on a GPU beside so many of weights; none or less: they do not fit.

    ``utilization``: ``gpu_memory_utilization``, or ``auto`` for the engine's own.
    """
    share = engine.gpu_memory_utilization if utilization == "auto" else utilization
    capacity, reserved = profile.memory.capacity, build.reserved_memory
    if engine.memory_of == "free":
        return share * (capacity - weights - reserved)
    return share * capacity - weights - reserved


def kv_blocks(
    model: Transformer,
    profile: Profile,
    engine: EngineProfile,
    build: Build,
    parallel: Parallelism,
    block_size: int,
    gpu_memory_utilization: float,
    held: Held | None = None,
) -> int:
    """Return the KV blocks that fit beside weights and the engine's own memory; InputError when none do.

    ``utilization * capacity - weights - reserved`` of each GPU, as vLLM computes it after its profiling run, or
    ``utilization * (capacity - weights - reserved)`` for an engine that takes a share of the free memory; over
    ``block_size * KV bytes a token``; ``UNBOUNDED`` where a token keeps nothing. ``held`` says what a technique made of
    the model's weights and KV.
    """
    weights, token = held or Held.of(model, parallel)
    share, capacity, reserved = gpu_memory_utilization, profile.memory.capacity, build.reserved_memory
    free = room(profile, engine, build, weights, share)
    if not token and free > 0:
        return UNBOUNDED
    blocks = int(free // (block_size * token)) if token else 0
    if blocks < 1:
        raise InputError(
            f"{model.name} does not fit {profile.name}: {weights / GIB:.1f} GiB of weights a GPU and "
            f"{reserved / GIB:.1f} GiB reserved leave no room for KV blocks in "
            f"{share * capacity / GIB:.1f} GiB ({share:.0%} of {capacity / GIB:.1f} GiB)",
            hint="raise tensor_parallel or gpu_memory_utilization, or take a GPU with more memory",
        )
    return blocks
