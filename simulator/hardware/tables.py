"""A profile's measured tables by library and operator, read when asked for."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from simulator.hardware.grid import Grid


class Tables:
    """The grids in one table file, selected by library, operator and attributes."""

    def __init__(self, grids: Iterable[Grid] = ()) -> None:
        self._grids = list(grids)

    def find(self, library: str, operator: str, **attributes: str | int | float) -> Iterator[Grid]:
        """Yield the grids whose library, operator and given attributes match; attributes not given may be any."""
        for grid in self._grids:
            if grid.library == library and grid.operator == operator:
                if all(grid.attributes.get(name) == value for name, value in attributes.items()):
                    yield grid

    def libraries(self) -> list[str]:
        """Return the names of all kernel libraries measured, sorted."""
        return sorted({grid.library for grid in self._grids})

    def save(self, path: Path) -> None:
        """Write the grids as one compact file."""
        raise NotImplementedError

    @classmethod
    def load(cls, path: Path) -> "Tables":
        """Open a table file; InputError if it is missing, cut short, or of another schema."""
        raise NotImplementedError
