"""All-reduce and its relatives between the GPUs of one instance."""

import numpy as np
from numpy.typing import NDArray

from simulator.hardware.grid import Grid
from simulator.hardware.profile import Profile
from simulator.hardware.tables import Tables

Float = NDArray[np.float64]
_CUSTOM_LIMIT = 8 * 2**20  # bytes up to which vLLM reduces with its own kernels on NVLink, beyond with NCCL


class Collectives:
    """Seconds of collectives over ``gpus`` GPUs of a profile, with the kernels of one library."""

    def __init__(self, profile: Profile, library: str | None, gpus: int) -> None:
        self._profile = profile
        self._gpus = gpus
        self.note = "none needed"
        self.most_bytes = 0.0  # that was measured, 0 where the link's figures stand for it
        tables = profile.tables
        self._custom: Grid | None = None
        self._nccl: Grid | None = None
        if gpus > 1:
            for name in _versions(tables, library):
                self._custom = self._custom or _reaching(
                    tables.find(name, "allreduce", dtype="bfloat16", graph=1), gpus
                )
            for name in tables.libraries():
                if name.startswith(("nccl", "oneccl")):
                    grids = list(tables.find(name, "collective", op="all_reduce"))
                    wanted = [g for g in grids if g.attributes["dtype"] in ("half", "bfloat16")]
                    # The newest version that was measured on so many.
                    self._nccl = _reaching(iter(wanted or grids), gpus) or self._nccl
            self.note = self._describe()
            link = profile.allreduce
            if (self._custom or self._nccl) is not None and (link is None or link.direct):
                self.most_bytes = max(float(g.axes[1].knots[-1]) for g in (self._custom, self._nccl) if g is not None)

    def allreduce(self, size: Float) -> Float:
        """Return seconds to sum arrays of so many bytes, one on each GPU, onto all of them."""
        if self._gpus == 1:
            return np.zeros_like(size)
        link = self._profile.allreduce
        if (self._custom is None and self._nccl is None) or (link is not None and link.direct is False):
            assert link is not None
            share = 2 * (self._gpus - 1) / self._gpus
            return np.asarray(link.latency + share * size / link.bandwidth)
        small, large = self._custom or self._nccl, self._nccl or self._custom
        assert small is not None and large is not None
        return np.where(size <= _CUSTOM_LIMIT, _read(small, self._gpus, size), _read(large, self._gpus, size))

    def _describe(self) -> str:
        link = self._profile.allreduce
        if link is not None and link.direct is False:
            return "latency and bandwidth of the link"
        measured = [grid.library for grid in (self._custom, self._nccl) if grid is not None]
        return f"measured ({', '.join(measured)})" if measured else "latency and bandwidth of the link"


def _versions(tables: Tables, library: str | None) -> list[str]:
    """Return a library and then its other versions: where it reduced on fewer GPUs, another may have on more."""
    if library is None:
        return []
    engine = library.rpartition("-")[0]
    others = [name for name in tables.libraries() if name.rpartition("-")[0] == engine and name != library]
    return [library, *reversed(others)]


def _reaching(grids: object, gpus: int) -> Grid | None:
    for grid in grids:  # type: ignore[attr-defined]
        if grid.axes[0].knots[0] <= gpus <= grid.axes[0].knots[-1]:
            found: Grid = grid
            return found
    return None


def _read(grid: Grid, gpus: int, size: Float) -> Float:
    last = grid.axes[1].knots[-1]
    return np.asarray(grid.at(float(gpus), size) * np.maximum(size / last, 1.0))
