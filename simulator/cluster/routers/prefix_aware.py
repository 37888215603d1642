"""The instance that has most of the prompt in its cache, as far as a router can tell."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast
from simulator.core import InputError, Request


@router("prefix_aware")
class PrefixAware(ByLeast):
    """Of the instances that were sent the longest common prefix before, the one with the fewest requests outstanding.

    Where that prefix is less than ``share`` of the prompt, or that instance has over ``max_lead`` requests more than
    the least loaded one, the least loaded one. What instances have evicted meanwhile the router does not know. Unlike
    ``prefix_affinity`` it follows prefixes of any depth, and a popular one may live on several instances.
    """

    source = "after the cache-aware policy of SGLang's router (longest match above a threshold, else balance)"

    def __init__(self, *, share: float = 0.5, max_lead: int = 32) -> None:
        if not 0 <= share <= 1 or max_lead < 0:
            raise InputError(f"share {share}, max_lead {max_lead}", hint="0 <= share <= 1, max_lead of 0 or more")
        self.share, self.max_lead = share, max_lead
        self._sent_to: dict[int, dict[int, None]] = {}  # by content of a prefix: the instances that have seen it

    def route(self, request: Request) -> int:
        """Return the instance with the longest prefix, or the least loaded one."""
        least = self._least
        best = self._longest(request)
        index = least.choose(1)
        if best is not None and best != index and least.value(best) - (least.value(index) - 1) <= self.max_lead:
            least.add(index, -1)
            least.add(best, 1)
            index = best
        for segment in request.segments:
            self._sent_to.setdefault(segment.id, {})[index] = None
        return index

    def _longest(self, request: Request) -> int | None:
        for segment in reversed(request.segments):
            if segment.end < self.share * request.prompt_tokens:
                return None
            seen = [index for index in self._sent_to.get(segment.id, ()) if index not in self.shut]
            if seen:
                return min(seen, key=self._least.value)
        return None

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._least.add(index, -1)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Count a request where it goes on."""
        self._least.add(source, -1)
        self._least.add(target, 1)
