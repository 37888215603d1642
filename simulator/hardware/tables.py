"""A profile's measured tables by library and operator, read when asked for."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from simulator.hardware.grid import Grid
from simulator.hardware.table_file import Archive, Shelf, read_shelves, write_shelves

Attribute = str | int | float


class Tables:
    """The grids in one table file, selected by library, operator and attributes."""

    def __init__(self, grids: Iterable[Grid] = (), about: Mapping[str, Any] | None = None) -> None:
        self._shelves: list[Shelf | _Loose] = [_Loose(grid) for grid in grids]
        self._about = about or {}
        self._archive: Archive | None = None

    @property
    def about(self) -> Mapping[str, Any]:
        """Where the grids come from (``sources``), and how well they reproduce what was measured (``errors``)."""
        if self._archive is not None:
            self._about = self._archive.json("about")
            self._archive = None
        return self._about

    def find(self, library: str, operator: str, **attributes: Attribute) -> Iterator[Grid]:
        """Yield the grids whose library, operator and given attributes match; attributes not given may be any."""
        for shelf in self._shelves:
            if shelf.library == library and shelf.operator == operator:
                for index, row in enumerate(shelf.rows):
                    if all(row.get(name) == value for name, value in attributes.items()):
                        yield shelf.grid(index)

    def measured(self, library: str, operator: str) -> list[Mapping[str, Attribute]]:
        """Return the attributes of all grids of a library and operator, without decoding their numbers."""
        shelves = (shelf for shelf in self._shelves if shelf.library == library and shelf.operator == operator)
        return [row for shelf in shelves for row in shelf.rows]

    def libraries(self) -> list[str]:
        """Return the names of all kernel libraries measured, sorted."""
        return sorted({shelf.library for shelf in self._shelves})

    def operators(self, library: str) -> list[str]:
        """Return the names of the operators measured with a library, sorted."""
        return sorted({shelf.operator for shelf in self._shelves if shelf.library == library})

    def __iter__(self) -> Iterator[Grid]:
        """Yield all grids; decodes every one."""
        for shelf in self._shelves:
            for index in range(len(shelf.rows)):
                yield shelf.grid(index)

    def save(self, path: Path) -> str:
        """Write the grids as one compact file and return its sha256; seconds are rounded to 0.015 %.

        The file is written beside its place and moved there whole. AssertionError for seconds that are not above 0.
        """
        return write_shelves(path, self, self.about)

    @classmethod
    def load(cls, path: Path, sha256: str | None = None) -> "Tables":
        """Open a table file; InputError if it is missing, cut short, of another schema, or not of the given sha256."""
        tables = cls()
        tables._archive = Archive(path, sha256)
        tables._shelves = list(read_shelves(tables._archive))
        return tables


class _Loose:
    """One grid in memory, looked up as a shelf of a file is."""

    def __init__(self, grid: Grid) -> None:
        self.library = grid.library
        self.operator = grid.operator
        self.rows = [grid.attributes]
        self._grid = grid

    def grid(self, index: int) -> Grid:
        return self._grid
