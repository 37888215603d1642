"""The modules of the simulation's loop as machine code, where they were compiled from this very source.

``hatch_build.py`` compiles them with mypyc when Tokenyard is installed and a C compiler is there. Results are the same
to the bit, the loop takes about half the time. Whoever edits one of them runs Python from then on, until the next
install; ``TOKENYARD_COMPILED=0`` runs Python in any case.
"""

import json
import os
import sys
from collections.abc import Sequence
from hashlib import sha256
from importlib.abc import MetaPathFinder
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).parent
FOLDER = PACKAGE / "_compiled"
# What a request passes on its way, hot or an ancestor of what is; a class that others derive from says so itself.
MODULES = (
    "core.request",
    "engine.clock",
    "engine.core",
    "engine.decode_set",
    "engine.instance",
    "engine.kv_pool",
    "engine.ledger",
    "engine.scheduler",
    "scheduling.adoption",
    "scheduling.mixed_batches",
    "cost.base",
    "cost.decode_curve",
    "cost.iteration",
    "cost.kernel_terms",
    "cost.layer_attention",
    "cost.prefill_curve",
    "cost.terms",
    "cluster.cluster",
    "cluster.front",
    "cluster.handover",
    "cluster.links",
    "cluster.topology",
    "cluster.router",
    "cluster.source",
)


class _Compiled(MetaPathFinder):
    """Finds compiled modules before Python's own finders see the source."""

    def __init__(self, files: dict[str, Path]) -> None:
        self._files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where a compiled module is; None for any other."""
        file = self._files.get(fullname)
        if file is None:
            return None
        return spec_from_file_location(fullname, file, loader=ExtensionFileLoader(fullname, str(file)))


def source_of(module: str, package: Path = PACKAGE) -> Path:
    """Return the Python file of one of ``MODULES``."""
    return package.joinpath(*module.split(".")).with_suffix(".py")


def fingerprint(package: Path = PACKAGE) -> str:
    """Return what the sources and this Python are, as a hash."""
    parts = [sys.implementation.cache_tag or "", sys.platform, *MODULES]
    return sha256(
        "\n".join(parts).encode() + b"".join(source_of(name, package).read_bytes() for name in MODULES)
    ).hexdigest()


def is_compiled() -> bool:
    """Tell whether this process runs machine code."""
    return any(isinstance(finder, _Compiled) for finder in sys.meta_path)


def prefer_compiled() -> None:
    """Use the compiled modules from now on, if they are of these sources and this Python."""
    manifest = FOLDER / "manifest.json"
    if os.environ.get("TOKENYARD_COMPILED") == "0" or is_compiled() or not manifest.is_file():
        return
    made = json.loads(manifest.read_text())
    if made["fingerprint"] == fingerprint():
        sys.meta_path.insert(0, _Compiled({name: FOLDER / file for name, file in made["files"].items()}))
