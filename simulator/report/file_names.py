"""Runs' names as names of files."""

import re
from collections.abc import Iterable


def free_names(runs: Iterable[str]) -> list[str]:
    """Return a file name (without ending) for every run: small letters, digits and hyphens, no two alike."""
    names: list[str] = []
    for run in runs:
        stem = name = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")[:80] or "run"
        while name in names:
            name = f"{stem}-{len(names)}"
        names.append(name)
    return names
