"""Taking requests out of a batch: paused with their KV, swapped to the host, or to be computed again."""

from simulator.core import Request
from simulator.engine.scheduler import Scheduler


def pause(policy: Scheduler, request: Request) -> None:
    """Let a decoding request sit out; it keeps its KV blocks, and ``decodes.add`` lets it go on."""
    policy.decodes.remove(request)
    request.blocks = policy.kv.blocks_for(request.computed)


def discard(policy: Scheduler, request: Request) -> bool:
    """Take the KV blocks of a request that runs, is paused or has begun its prompt; return whether it must run again.

    It must not if it made its last token already and an asynchronous engine just doesn't know yet. Otherwise its
    tokens, made ones included, are computed again when it is admitted; that is a preemption.
    """
    if request.finished_at >= 0:
        policy.kv.release(request)
        return False
    if request in policy.decodes:
        pause(policy, request)
    policy.kv.release(request, resumes=True)
    _count(policy, request)
    return True


def swap_out(policy: Scheduler, request: Request) -> int:
    """Move the KV of a request that runs or is paused to the host's memory, a preemption; return its tokens.

    The caller made sure that there is room (``host.can_take``) and that it has not finished.
    """
    if request in policy.decodes:
        pause(policy, request)
    _count(policy, request)
    return policy.host.swap_out(request)


def _count(policy: Scheduler, request: Request) -> None:
    request.preemptions += 1
    policy.preempted += 1
