"""A random instance."""

from simulator.cluster.registry import router
from simulator.cluster.router import Router
from simulator.core import Request

_BATCH = 1024


@router("random")
class Random(Router):
    """An instance at random, all alike."""

    _drawn: tuple[int, ...] | list[int] = ()

    def route(self, request: Request) -> int:
        """Return a random instance of those that are open."""
        index = self._draw()
        while index in self.shut and len(self.shut) < self.instances:
            index = self._draw()
        return index

    def _draw(self) -> int:
        if not self._drawn:
            # One numpy call for many draws: a single one costs more than routing itself.
            self._drawn = self.rng.integers(self.instances, size=_BATCH).tolist()
        assert isinstance(self._drawn, list)
        return self._drawn.pop()
