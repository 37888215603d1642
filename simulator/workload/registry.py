"""Public traces: where they are, whose they are, and a checked copy in the user's cache."""

import hashlib
import os
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import yaml
from pydantic import Field, ValidationError

from simulator.core.data import data_dir
from simulator.core.errors import InputError, unknown
from simulator.workload.section import Count, Section

Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class PublicTrace(Section):
    """A public trace: a file at a URL. ``sha256`` and ``bytes`` are null where nobody could check them yet."""

    title: str
    url: Annotated[str, Field(pattern="^https?://")]
    file: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    format: str
    sha256: Digest | None
    bytes: Count | None
    requests: Count | None
    licence: str
    citation: str


class Fetched(NamedTuple):
    """A fetched trace: ``pinned`` says whether its digest is the registry's, not just what the server sent."""

    path: Path
    sha256: str
    pinned: bool


def load_registry(path: Path | None = None) -> dict[str, PublicTrace]:
    """Return the public traces by name, from the shipped registry or another file of its form."""
    path = path or data_dir("workloads") / "registry.yaml"
    content = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return {name: PublicTrace.model_validate(entry) for name, entry in content.items()}
    except ValidationError as error:
        raise InputError(f"bad registry entry: {error}", where=str(path)) from None


def find(name: str) -> PublicTrace:
    """Return a registered trace; InputError suggests the nearest name."""
    registry = load_registry()
    if name not in registry:
        raise unknown("trace", name, registry)
    return registry[name]


def cache_dir() -> Path:
    """Return the folder for fetched traces (``TOKENYARD_CACHE_DIR``, else the user's cache)."""
    chosen = os.environ.get("TOKENYARD_CACHE_DIR")
    if chosen:
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("tokenyard")) / "traces"


def cached(name: str) -> Path | None:
    """Return a fetched trace's file, or None; nothing is downloaded."""
    path = cache_dir() / find(name).file
    return path if path.is_file() else None


def fetch(name: str, *, trust: bool = False, progress: bool = False) -> Fetched:
    """Download a trace into the cache and check its sha256; a copy that is there and sound is kept.

    A trace without a known digest is refused unless ``trust``: then the first copy's digest is noted beside it, and
    later copies must match.
    """
    import pooch

    trace = find(name)
    path = cache_dir() / trace.file
    note = path.with_name(path.name + ".sha256")
    expected = trace.sha256 or (note.read_text().strip() if note.is_file() else None)
    if expected is None and not trust:
        raise InputError(f"the registry knows no sha256 for '{name}', so a download can't be checked",
                         hint="pass --trust-on-first-use to take what comes and print its digest")  # fmt: skip
    try:
        pooch.retrieve(trace.url, known_hash=expected and f"sha256:{expected}", fname=trace.file, path=path.parent,
                       progressbar=progress)  # fmt: skip
    except ValueError as error:  # pooch's word for a wrong digest
        raise InputError(f"'{name}' from {trace.url} is not the registered file: {error}") from None
    except OSError as error:  # no network, no such URL, no space
        raise InputError(f"can't fetch '{name}' from {trace.url}: {error}",
                         hint=f"download it by other means to {path}") from None  # fmt: skip
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if trace.sha256 is None:
        note.write_text(digest + "\n")
    return Fetched(path, digest, trace.sha256 is not None)


def describe(name: str) -> dict[str, Any]:
    """Return what is known of a registered trace, and where its fetched copy is (``cached``, None if there is none)."""
    path = cached(name)
    return {"name": name, **find(name).model_dump(), "cached": str(path) if path else None}
