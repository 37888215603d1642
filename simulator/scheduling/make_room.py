"""Preemption of whoever came last, where memory runs out among those that decode."""

from simulator.core import Request
from simulator.engine.scheduler import Scheduler
from simulator.scheduling.preemption import discard
from simulator.scheduling.queues import ArrivalQueue


def discard_last(policy: Scheduler, running: dict[Request, None], queue: ArrivalQueue) -> None:
    """Take requests off the end of ``running`` until the decode set's next iteration fits into memory.

    They go to the queue's front, and are computed again. Nothing happens while it fits.
    """
    while policy.decodes.blocks_next() > policy.kv.free:
        victim, _ = running.popitem()
        if discard(policy, victim):
            queue.push_front(victim)
