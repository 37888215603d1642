"""The table file: all grids of one operator stand together as a shelf, decoded when first asked for.

An ``.npz`` with a small index (JSON), and for each shelf its rows (JSON: the attributes of each grid) and its codes:
seconds as steps of a logarithm, 0 where nothing was measured. Codes are stored as differences along the last axis, low
bytes before high ones, because that compresses to about a byte a measurement.
"""

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError
from simulator.hardware.grid import Axis, Grid

SCHEMA = 1
# Of the natural logarithm of seconds: a rounding of at most 0.015 %, and 19 powers of e in 16 bits.
_STEP = 3e-4
_MOST = 65_535
_Codes = NDArray[np.uint16]


class Shelf:
    """The grids of one library and operator in a file."""

    def __init__(self, archive: "Archive", number: int, header: Mapping[str, Any]) -> None:
        self.library: str = header["library"]
        self.operator: str = header["operator"]
        self._axes = [Axis(a["name"], np.array(a["knots"], np.float64), a["scale"]) for a in header["axes"]]
        self._origin: float = header["origin"]
        self._archive = archive
        self._number = number

    @cached_property
    def rows(self) -> list[Mapping[str, str | int | float]]:
        """The attributes of each grid."""
        columns = self._archive.json(f"rows_{self._number}")
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)] or [{}]

    def grid(self, index: int) -> Grid:
        """Return a grid, without the knots at which it has nothing but holes."""
        codes = self._codes[index]
        seconds = np.exp(self._origin + _STEP * codes.astype(np.float64))
        seconds[codes == 0] = np.nan
        kept = [np.flatnonzero(codes.any(axis=_others(axis, codes.ndim))) for axis in range(codes.ndim)]
        axes = (Axis(axis.name, axis.knots[keep], axis.scale) for axis, keep in zip(self._axes, kept, strict=True))
        return Grid(self.library, self.operator, tuple(axes), seconds[np.ix_(*kept)], self.rows[index])

    @cached_property
    def _codes(self) -> _Codes:
        planes = self._archive.array(f"codes_{self._number}")
        shape = (len(self.rows), *(len(axis.knots) for axis in self._axes))
        if planes.dtype != np.uint8 or planes.size != 2 * np.prod(shape):
            raise self._archive.damaged()
        low, high = planes.reshape(2, -1).astype(np.uint16)
        differences = (low | (high << 8)).reshape(shape)
        # Folded: 0, -1, 1, -2, ... as 0, 1, 2, 3, ...
        differences = (differences >> 1) ^ -(differences & 1)
        return np.cumsum(differences, axis=-1, dtype=np.uint16)


def write_shelves(path: Path, grids: Iterable[Grid], about: Mapping[str, Any]) -> str:
    """Write grids and JSON about them to a file, moved to its place whole, and return the file's sha256."""
    shelves: dict[tuple[str, str], list[Grid]] = {}
    for grid in grids:
        shelves.setdefault((grid.library, grid.operator), []).append(grid)
    headers, members = [], {}
    for number, ((library, operator), shelf) in enumerate(shelves.items()):
        axes = [_union([grid.axes[at] for grid in shelf]) for at in range(len(shelf[0].axes))]
        seconds = np.full((len(shelf), *(len(axis.knots) for axis in axes)), np.nan)
        for block, grid in zip(seconds, shelf, strict=True):
            places = (np.searchsorted(all_.knots, own.knots) for all_, own in zip(axes, grid.axes, strict=True))
            block[np.ix_(*places)] = grid.seconds
        codes, origin = _encode(seconds)
        names = list(shelf[0].attributes)
        assert all(list(grid.attributes) == names for grid in shelf), f"attributes of {library} {operator} differ"
        axes_json = [{"name": a.name, "scale": a.scale, "knots": [_plain(k) for k in a.knots]} for a in axes]
        headers.append({"library": library, "operator": operator, "origin": origin, "axes": axes_json})
        members[f"rows_{number}"] = _json({name: [grid.attributes[name] for grid in shelf] for name in names})
        members[f"codes_{number}"] = codes
    index = _json({"schema": SCHEMA, "shelves": headers})
    data = _pack({"index": index, "about": _json(about), **members})
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(path)
    return hashlib.sha256(data).hexdigest()


def read_shelves(archive: "Archive") -> list[Shelf]:
    """Return what is in a table file; InputError if it is of another schema or damaged."""
    index = archive.json("index")
    found = index.get("schema") if isinstance(index, dict) else None
    if found != SCHEMA:
        newer = isinstance(found, int) and found > SCHEMA
        hint = "upgrade tokenyard" if newer else "import the profile again: tokenyard profiles import"
        raise InputError(f"table file schema {found!r}, this version reads {SCHEMA}", where=archive.path, hint=hint)
    try:
        return [Shelf(archive, number, header) for number, header in enumerate(index["shelves"])]
    except (KeyError, TypeError, ValueError):
        raise archive.damaged() from None


class Archive:
    """The members of a file, whose bytes are held so that the file may change or go.

    InputError if it is missing, cut short, or not of the given sha256.
    """

    def __init__(self, path: Path, sha256: str | None) -> None:
        self.path = str(path)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise InputError("no such table file", where=self.path, hint="it belongs beside its profile") from None
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=self.path) from None
        if sha256 is not None and (found := hashlib.sha256(data).hexdigest()) != sha256:
            raise InputError(
                f"is not the table file its profile names: sha256 {found[:12]}..., not {sha256[:12]}...",
                where=self.path,
                hint="it was changed or cut short; fetch both files again, or import the profile again",
            )
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except zipfile.BadZipFile:
            raise self.damaged() from None

    def array(self, name: str) -> NDArray[Any]:
        """Return a member; InputError if it is missing or damaged."""
        try:
            with self._zip.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)
        except (KeyError, ValueError, EOFError, zipfile.BadZipFile, OSError):
            raise self.damaged() from None

    def json(self, name: str) -> Any:
        """Return a member that holds JSON."""
        try:
            return json.loads(self.array(name).tobytes())
        except (UnicodeDecodeError, json.JSONDecodeError):
            raise self.damaged() from None

    def damaged(self) -> InputError:
        """Return the error for a file that is no table file or not whole."""
        hint = "fetch it again, or import the profile again: tokenyard profiles import"
        return InputError("is damaged, cut short, or not a table file", where=self.path, hint=hint)


def _encode(seconds: NDArray[np.float64]) -> tuple[NDArray[np.uint8], float]:
    measured = seconds[~np.isnan(seconds)]
    assert (measured > 0).all() and np.isfinite(measured).all(), "seconds must be above 0; NaN is a hole"
    # One step below the smallest, because code 0 is a hole.
    origin = float(np.log(measured.min())) - _STEP if len(measured) else 0.0
    steps = np.rint((np.log(seconds) - origin) / _STEP)
    assert not (steps > _MOST).any(), "one operator spans more than a factor of 3e8"
    codes = np.where(np.isnan(steps), 0, steps).astype(np.uint16)
    differences = np.diff(codes, axis=-1, prepend=np.uint16(0)).view(np.int16)
    folded = ((differences << 1) ^ (differences >> 15)).view(np.uint16).ravel()
    return np.concatenate([folded & 0xFF, folded >> 8]).astype(np.uint8), origin


def _union(axes: list[Axis]) -> Axis:
    first = axes[0]
    assert all((axis.name, axis.scale) == (first.name, first.scale) for axis in axes), f"axes {first.name} differ"
    return Axis(first.name, np.unique(np.concatenate([axis.knots for axis in axes])), first.scale)


def _others(axis: int, dimensions: int) -> tuple[int, ...]:
    return tuple(other for other in range(dimensions) if other != axis)


def _plain(knot: float) -> float | int:
    return int(knot) if knot == int(knot) else float(knot)


def _json(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, separators=(",", ":")).encode(), np.uint8)


def _pack(members: Mapping[str, NDArray[np.uint8]]) -> bytes:
    """Return an .npz; unlike NumPy's own, with the best compression and the same bytes every time."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, array in members.items():
            raw = io.BytesIO()
            np.lib.format.write_array(raw, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), raw.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return packed.getvalue()
