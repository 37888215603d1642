"""Each instance in turn."""

from simulator.cluster.registry import router
from simulator.cluster.router import Router
from simulator.core import Request


@router("round_robin")
class RoundRobin(Router):
    """Each instance in turn, whatever its load."""

    _next = -1

    def route(self, request: Request) -> int:
        """Return the instance after the last one."""
        self._next = (self._next + 1) % self.instances
        while self._next in self.shut and len(self.shut) < self.instances:
            self._next = (self._next + 1) % self.instances
        return self._next
