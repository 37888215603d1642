"""The instance whose unfinished requests brought the fewest prompt tokens."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast
from simulator.core import Request


@router("least_kv")
class LeastKV(ByLeast):
    """The instance with the fewest KV tokens committed to prompts of requests sent and not ended.

    What a router knows without asking: outputs are of unknown length and count nothing.
    """

    def route(self, request: Request) -> int:
        """Return the instance with the smallest sum, and count the request there."""
        return self._least.choose(request.prompt_tokens)

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._least.add(index, -request.prompt_tokens)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Count a request where it goes on."""
        self._least.add(source, -request.prompt_tokens)
        self._least.add(target, request.prompt_tokens)
