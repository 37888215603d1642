"""What a trace's name or path stands for: a workload fitted to it, or a file."""

from pathlib import Path

from simulator.core.data import data_dir
from simulator.core.errors import InputError, unknown
from simulator.workload.fitted import Fitted, load_fitted
from simulator.workload.readers.source import open_text
from simulator.workload.registry import cached, load_registry

ORIGINAL = "@original"


def fitted_names() -> list[str]:
    """Return the names of the fitted workloads that are shipped."""
    return sorted(path.stem for path in data_dir("workloads").glob("*.yaml") if path.stem != "registry")


def resolve(trace: str, base: Path) -> Fitted | Path:
    """Return the fitted workload or the file that ``trace`` names.

    ``NAME`` is a shipped fit, or a registered trace's fetched original where none is shipped; ``NAME@original`` is
    always the original. Anything else is a path, from ``base`` or else from the working folder.
    """
    if trace in fitted_names():
        return load_fitted(data_dir("workloads") / f"{trace}.yaml")
    name = trace.removesuffix(ORIGINAL)
    registry = load_registry()
    if name in registry:
        return _original(name)
    if name != trace:
        raise unknown("trace", name, registry, where="workload.trace")
    path = next((found for found in (base / trace, Path(trace)) if found.exists()), None)
    if path is None:
        if "/" in trace or Path(trace).suffix:
            open_text(base / trace)  # raises the error that suggests a file of a similar name
        raise unknown("trace", trace, {*registry, *fitted_names()}, where="workload.trace")
    return load_fitted(path) if path.suffix in (".yaml", ".yml") else path


def _original(name: str) -> Path:
    path = cached(name)
    if path is None:
        raise InputError(f"the original of trace '{name}' has not been fetched", where="workload.trace",
                         hint=f"run 'tokenyard traces fetch {name}'")  # fmt: skip
    return path
