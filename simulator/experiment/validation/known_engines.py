"""Measured files name engines and versions as people do; a profile of the nearest one stands in where there is none."""

import re
from bisect import bisect_right
from typing import NamedTuple

from simulator.hardware.engine_profile import load_engine

_NAMES = {"tensorrtllm": "trtllm", "tensorrt": "trtllm", "trt": "trtllm"}
# Engines without a profile that schedule as another does (continuous batches, chunked prompts, a prefix cache, the next
# iteration prepared while one runs) and run the same kernels.
_RELATIVES = {"sglang": "vllm"}
# When minor versions came out, by the package index; of what was measured between two, the version is the earlier one.
# The newest build known begins with the last.
_RELEASES = {
    "vllm": {
        "2025-03-18": "0.8", "2025-05-28": "0.9", "2025-07-25": "0.10", "2025-10-04": "0.11", "2025-12-03": "0.12",
        "2025-12-19": "0.13", "2026-01-20": "0.14", "2026-01-29": "0.15", "2026-02-26": "0.16", "2026-03-07": "0.17",
        "2026-03-20": "0.18",
    }
}  # fmt: skip


class ServedBy(NamedTuple):
    """The engine profile and version to simulate with (None: the newest), and what is said where it stands in."""

    engine: str
    version: str | None
    stand_in: str | None = None


def engine_named(name: str, version: str = "", measured_on: str = "") -> ServedBy:
    """Return what simulates an engine as a file names it (``vLLM``, ``TensorRT-LLM``; ``v0.11.0``, ``1.2.0rc4``).

    Without a version it is the newest on the day of the measurement (``2025-10-29`` or ``20251029``), as far as that is
    known. A version older than every build known is simulated as the oldest. An engine's name that means nothing is
    returned as it is, so that it is refused where it is loaded.
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
        return _newest_then(plain, measured_on)
    oldest = min((build.since for build in load_engine(plain).builds), key=_numbers)
    if _numbers(number[0]) < _numbers(oldest):
        said = f"{plain} {number[0]} is older than every build known: simulated as {oldest}."
        return ServedBy(plain, oldest, said)
    return ServedBy(plain, version[number.start() :])


def _newest_then(engine: str, measured_on: str) -> ServedBy:
    """Return an engine at its newest version on a day; without one where the day or its releases are not known."""
    day = re.match(r"(20\d\d)-?(\d\d)-?(\d\d)", measured_on)
    if day is None or engine not in _RELEASES:
        return ServedBy(engine, None)
    date, releases = "-".join(day.groups()), _RELEASES[engine]
    version = list(releases.values())[max(bisect_right(list(releases), date) - 1, 0)]
    said = f"Where {engine}'s version is not recorded, it is the newest of the day: {version}."
    return ServedBy(engine, version, said)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
