"""What an importer is: one class in one file of this package, registered under the name people type."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simulator.core import InputError
from simulator.core.quantity import parse
from simulator.core.registry import Registry
from simulator.hardware.fit_roofline import Most
from simulator.hardware.grid import Grid


@dataclass
class Imported:
    """What a reading of measurements adds to a profile.

    ``grids`` go to its table file, with ``errors`` saying how well they reproduce what was measured. ``measured`` are
    sections of its YAML that replace what was there, ``stated`` (datasheets, assumptions) only fill what is not.
    ``provenance`` has a sentence for each section of either.
    """

    grids: list[Grid] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)
    stated: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)


class Importer(ABC):
    """Reads measurements of one GPU in one format."""

    #: How provenance names the measurements where the person importing them does not say.
    source = "own measurements"

    @abstractmethod
    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read files or folders; InputError says what is wrong where.

        ``source`` is how provenance names them, ``known`` what the profile says so far, as in its YAML.
        """


IMPORTERS: Registry[Importer] = Registry(
    "importer",
    Importer,  # type: ignore[type-abstract]
    package="simulator.hardware.importers",
    group="tokenyard.importers",
)


def most_of(said: Mapping[str, Any], dtype: str) -> Most:
    """Return the rates of a type that no kernel exceeds, as far as a profile's YAML states them."""
    memory, peak = said.get("memory") or {}, said.get("peak") or {}
    bandwidth = parse(memory["bandwidth"], "bandwidth") if "bandwidth" in memory else None
    # Block scales don't change the multipliers.
    rate = peak.get(dtype) or peak.get(dtype.removesuffix("_block"))
    return Most(bandwidth, parse(rate, "compute") if rate else None)


def read_json(path: str) -> dict[str, Any]:
    """Return the object in a JSON file; InputError says what is wrong where."""
    try:
        value = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=path) from None
    except UnicodeDecodeError:
        raise InputError("not JSON: it is not text", where=path) from None
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg.lower()}", where=f"{path}:{error.lineno}:{error.colno}") from None
    if not isinstance(value, dict):
        raise InputError("not a JSON object", where=path)
    return value
