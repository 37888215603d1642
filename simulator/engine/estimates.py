"""What iterations would take, for policies that rank requests by a profile of the engine they run on."""

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes


class Estimates:
    """Durations in ps, as a policy's own profile of the engine would give them; asking changes nothing."""

    def __init__(self, cost: CostModel, decodes: Decodes) -> None:
        self._cost = cost
        self._decodes = decodes
        self._prefills: dict[int, int] = {}

    def prefill(self, tokens: int) -> int:
        """Return how long a prompt of so many tokens takes alone."""
        if (known := self._prefills.get(tokens)) is None:
            request = Request(-1, 0, tokens, 1)
            known = self._prefills[tokens] = self._cost.mixed([(request, tokens)], tokens, 0, 0, self._decodes)
        return known

    def decode(self, requests: int, context: int) -> int:
        """Return how long an iteration takes in which so many requests decode and read ``context`` KV tokens in all."""
        return self._cost.decode_run(requests, context, self._decodes)[0]
