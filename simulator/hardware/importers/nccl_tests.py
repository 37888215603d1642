"""nccl-tests: what ``all_reduce_perf --json FILE`` and its siblings write, a file for each number of GPUs."""

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.core import InputError
from simulator.hardware.fit_roofline import as_yaml, fit_allreduce
from simulator.hardware.importers.base import IMPORTERS, Imported, Importer, read_json
from simulator.hardware.importers.measurements import Layout, to_grids

_OPERATIONS = ("all_reduce", "all_gather", "reduce_scatter", "alltoall")
_LAYOUT = Layout("collective", ("op", "dtype"), (("gpus", "linear"), ("bytes", "log")), alike=("dtype",))


@IMPORTERS.register("nccl_tests")
class NcclTests(Importer):
    """Collectives timed by nccl-tests, from its JSON output."""

    source = "nccl-tests"

    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read files of ``all_reduce_perf``, ``all_gather_perf``, ``reduce_scatter_perf`` or ``alltoall_perf``."""
        import pandas as pd

        rows = pd.DataFrame([row for path in paths for row in _rows(path)])
        imported = Imported()
        for library, own in rows.groupby("library"):
            measured = to_grids(own, str(library), _LAYOUT)
            imported.grids += measured.grids
            imported.errors += measured.errors
        reduced = rows[rows.op == "all_reduce"]
        if len(reduced):
            fitted = as_yaml(fit_allreduce(reduced))
            error, samples = fitted.pop("error"), fitted.pop("samples")
            if (known.get("allreduce") or {}).get("direct") is False:
                fitted["direct"] = False
            imported.measured["allreduce"] = fitted
            imported.provenance["allreduce"] = f"fit to {samples} all-reduces ({source}), median error {error:.1%}"
        return imported


def _rows(path: str) -> list[dict[str, Any]]:
    """Return a row for each size of a file, in bytes and seconds."""
    run = read_json(path)
    try:
        program = str(run["args"][0]).replace("\\", "/").rsplit("/", 1)[-1]
        operation = program.removesuffix("_perf")
        config = run["config"]
        # A process lists its first GPU only, and drives nthreads times ngpus.
        gpus = max(len(config["devices"]), 1) * int(config["nthreads"]) * int(config["ngpus"])
        common = {"library": f"nccl-{_version(int(run['nccl_version']))}", "op": operation, "gpus": gpus}
        rows = [
            {**common, "dtype": result["type"], "bytes": int(result["size"]), "seconds": 1e-6 * _microseconds(result)}
            for result in run["results"]
        ]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise InputError(f"not a result of nccl-tests: {what}", where=path, hint="write it with --json") from None
    if operation not in _OPERATIONS:
        raise InputError(f"'{program}' is not one we know", where=path, hint=f"known: {', '.join(_OPERATIONS)}")
    if gpus < 2:
        raise InputError("one GPU has nobody to talk to", where=path, hint="run it on two or more")
    # Sizes below an element come out as 0 bytes.
    if not (rows := [row for row in rows if row["bytes"] > 0 and row["seconds"] > 0]):
        raise InputError("no results", where=path)
    return rows


def _microseconds(result: Mapping[str, Any]) -> float:
    """Return the out-of-place time, in-place where there is none; cpu_time counts the host and is refused."""
    timed = result.get("out_of_place") or result["in_place"]
    if "time" not in timed:
        raise ValueError("it times the host (-C), not the GPUs")
    if timed.get("nwrong"):
        raise ValueError(f"{timed['nwrong']:.0f} wrong elements at {result['size']} bytes")
    return float(timed["time"])


def _version(code: int) -> str:
    """Return NCCL's version from its code: 22902 is 2.29.2, before 2.9 4 digits such as 2804 are 2.8.4."""
    major, rest = divmod(code, 10_000) if code >= 10_000 else divmod(code, 1000)
    return f"{major}.{rest // 100}.{rest % 100}"
