"""A policy under observation: checks the KV pool whenever the policy has decided."""

from collections.abc import Callable
from typing import Any

from simulator.core import Request
from simulator.engine.kv_pool import CountingPool
from simulator.engine.scheduler import Plan, Scheduler
from simulator.scheduling.registry import SCHEDULERS

MOST_PLANS = 200_000


def watched(name: str, params: dict[str, Any]) -> Scheduler:
    """Return a policy by name that asserts, at every plan, that KV blocks are conserved and that it makes progress."""
    policy = SCHEDULERS.get(name)

    class Watched(policy):  # type: ignore[misc, valid-type]
        def __init__(self, **params: Any) -> None:
            super().__init__(**params)
            self.present: dict[Request, None] = {}
            self.plans = 0
            self.away: Callable[[], int] = lambda: 0  # blocks here of requests that are on their way to or from others

        def add(self, request: Request) -> None:
            self.present[request] = None
            super().add(request)

        def adopt(self, request: Request) -> None:
            self.present[request] = None
            super().adopt(request)

        def withdraw(self, request: Request) -> None:
            del self.present[request]
            super().withdraw(request)

        def finished(self, request: Request) -> None:
            del self.present[request]
            super().finished(request)

        def plan(self) -> Plan:
            plan: Plan = super().plan()
            kv, decodes = self.kv, self.decodes
            assert 0 <= kv.free <= kv.total
            assert kv.used == kv.total - kv.free
            # A member's blocks cover its context, the token it is about to make included.
            ahead = 0 if plan.extras and plan.extras.decodes_wait else 1
            held = sum(
                kv.blocks_for(request.offset + decodes.iteration - 1 + ahead) if request in decodes else request.blocks
                for request in self.present
            )
            held += self.away()
            if isinstance(kv, CountingPool):
                assert kv.used == held, "the pool's count is the sum of what requests hold"
            else:
                assert kv.used <= held, "sharing can only save blocks"
            assert all(tokens > 0 and request not in decodes for request, tokens in plan.chunks)
            assert len({request.index for request, _ in plan.chunks}) == len(plan.chunks)
            assert len(self.queue) <= len(self.present)
            self.plans += 1
            assert self.plans < MOST_PLANS, "the policy plans on and on"
            return plan

    known = SCHEDULERS.parameters(name)
    return Watched(**{key: value for key, value in params.items() if key in known})
