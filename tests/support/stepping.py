"""An engine stepped by hand with a policy by its name, that numbers the requests it is sent."""

from itertools import count
from typing import Any

from support.by_hand import ByHand

from simulator.core import Request
from simulator.scheduling.registry import SCHEDULERS


class Stepper(ByHand):
    """``new`` sends a request and returns it; ``run`` steps to the end and says who finished, first to last."""

    def __init__(self, name: str, *, blocks: int = 10_000, block_size: int = 1, **params: Any) -> None:
        super().__init__(SCHEDULERS.make(name, params), blocks=blocks, block_size=block_size)
        self._indices = count()

    def new(self, prompt: int, output: int = 100, **more: Any) -> Request:
        request = Request(next(self._indices), self.now, prompt, output, **more)
        self.send(request)
        return request

    def run(self) -> list[int]:
        before = len(self.answered)
        while self.step() or self.core.decodes or len(self.policy.queue):
            assert self.now < 100_000
        return self.answered[before:]
