"""The most requests and tokens of an iteration: what vLLM chooses by its GPU where an experiment leaves them out."""

from typing import Any

from simulator.experiment.named import Named
from simulator.hardware.engine_profile import EngineProfile
from simulator.hardware.profile import Profile
from simulator.scheduling.registry import SCHEDULERS
from simulator.scheduling.vllm import REQUESTS, TOKENS, with_limits

# EngineArgs.get_batch_defaults of vLLM 0.9 and later: requests and tokens, behind the server (True) and in process.
# Those of large GPUs hold from 70 GiB of memory on, but for any A100, which large batches slow down (its #17885).
_LARGE_BYTES = 70 * 2**30
_LARGE, _SMALL = {True: (1024, 8192), False: (1024, 16384)}, {True: (256, 2048), False: (256, 8192)}
# What policies call them.
_NAMES = ("max_num_seqs", "max_batch_size", "max_num_batched_tokens", "max_num_tokens")


def settled(scheduler: Named, engine: EngineProfile, profile: Profile, *, server: bool) -> Named:
    """Return an instance's policy, vLLM's with both limits: those given, else the engine's defaults for its GPU.

    ``server``: whether the engine runs behind its HTTP server. An engine whose own policy is another one has no
    defaults for vLLM's, whose own ones then hold. Other policies stay as they are.
    """
    if scheduler.name != "vllm":
        return scheduler
    usual = _by_gpu(profile, server) if engine.scheduler == "vllm" else (REQUESTS, TOKENS)
    return Named(name=scheduler.name, params=with_limits(scheduler.params, *usual))


def limits_of(scheduler: Named) -> dict[str, Any]:
    """Return a policy's limits by its own names for them; empty where it has none."""
    known = SCHEDULERS.parameters(scheduler.name)
    return {name: scheduler.params.get(name, known[name].default) for name in _NAMES if name in known}


def _by_gpu(profile: Profile, server: bool) -> tuple[int, int]:
    """Return vLLM's default requests and tokens of an iteration."""
    large = profile.memory.capacity >= _LARGE_BYTES and "a100" not in profile.gpu.lower()
    return (_LARGE if large else _SMALL)[server]
