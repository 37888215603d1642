"""Measured files name engines and versions as people do; a profile of the nearest one stands in where there is none."""

import re
from typing import NamedTuple

from simulator.hardware.engine_profile import load_engine

_NAMES = {"tensorrtllm": "trtllm", "tensorrt": "trtllm", "trt": "trtllm"}
# Engines without a profile that schedule as another does (continuous batches, chunked prompts, a prefix cache, the next
# iteration prepared while one runs) and run the same kernels.
_RELATIVES = {"sglang": "vllm"}


class ServedBy(NamedTuple):
    """The engine profile and version to simulate with (None: the newest), and what is said where it stands in."""

    engine: str
    version: str | None
    stand_in: str | None = None


def engine_named(name: str, version: str = "") -> ServedBy:
    """Return what simulates an engine as a file names it (``vLLM``, ``TensorRT-LLM``; ``v0.11.0``, ``1.2.0rc4``).

    A version older than every build known is simulated as the oldest. An engine's name that means nothing is returned
    as it is, so that it is refused where it is loaded.
    """
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    plain = _NAMES.get(plain, plain) or "vllm"
    number = re.search(r"\d+(\.\d+)*", version)
    if (relative := _RELATIVES.get(plain)) is not None:
        newest = load_engine(relative).build()
        return ServedBy(relative, None, f"{name} has no profile: simulated as {relative} ({newest.name}), its nearest.")
    if plain not in ("vllm", "trtllm"):
        return ServedBy(name.lower(), version or None)
    if number is None:
        return ServedBy(plain, None)
    oldest = min((build.since for build in load_engine(plain).builds), key=_numbers)
    if _numbers(number[0]) < _numbers(oldest):
        said = f"{plain} {number[0]} is older than every build known: simulated as {oldest}."
        return ServedBy(plain, oldest, said)
    return ServedBy(plain, version[number.start() :])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
