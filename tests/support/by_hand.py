"""An engine stepped by hand, one iteration at a time: what a policy decides, without any clock."""

from typing import Any

from simulator.core import Request
from simulator.engine.core import EngineCore
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import CountingPool
from simulator.engine.ledger import Ledger
from simulator.engine.scheduler import Extras, Plan, Scheduler


class ByHand:
    """``step`` plans and runs one iteration, and says by request index who got how many tokens."""

    def __init__(self, policy: Scheduler, *, blocks: int = 100_000, block_size: int = 1, host_blocks: int = 0) -> None:
        self.policy = policy
        self.kv = CountingPool(blocks, block_size, reuse=False)
        self.host = HostMemory(self.kv, host_blocks, ps_per_token=1)
        self.core = EngineCore(self.kv, policy, Ledger(), 10**6, host=self.host)
        self.answered: list[int] = []
        self.plan = Plan()
        self.extras = Extras()
        self.now = 0

    def send(self, *requests: Request) -> None:
        for request in requests:
            self.policy.add(request)

    def step(self) -> dict[int, int]:
        self.policy.now = self.now
        self.plan = plan = self.policy.plan()
        self.extras = extras = plan.extras or Extras()
        self.core.admit(plan.chunks, self.now)
        given = {request.index: tokens for request, tokens in plan.chunks}
        if not extras.decodes_wait:
            given |= {request.index: 1 for request in self.core.decodes}
        self.now += 1
        complete = self.core.complete_stalled if extras.decodes_wait else self.core.complete
        self.answered += [request.index for request in complete(plan.chunks, self.now)]
        return given

    def steps(self, count: int) -> list[dict[int, int]]:
        return [self.step() for _ in range(count)]


def request(index: int, prompt: int, output: int = 100, **more: Any) -> Request:
    return Request(index, index, prompt, output, **more)
