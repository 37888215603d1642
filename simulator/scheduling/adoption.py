"""Letting requests decode that came with their KV from another instance."""

from collections import deque

from simulator.core import Request
from simulator.engine.scheduler import Scheduler
from simulator.scheduling.preemption import discard
from simulator.scheduling.queues import WaitingQueue


def take_in(
    policy: Scheduler,
    adopted: deque[Request],
    running: dict[Request, None],
    queue: WaitingQueue,
    max_num_seqs: int,
) -> None:
    """Let adopted requests decode in order as slots allow; one alone without room to grow is computed again."""
    kv, decodes = policy.kv, policy.decodes
    while adopted and len(running) < max_num_seqs:
        request = adopted[0]
        if kv.blocks_for(request.computed + 1) - request.blocks <= kv.free - decodes.blocks_next():
            decodes.add(request)
            running[request] = None
        elif running:
            break
        else:
            discard(policy, request)
            queue.push_front(request)
        adopted.popleft()
