"""ORCA: a batch that changes at every iteration, in order of arrival, with memory reserved for whole sequences."""

from functools import cached_property

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Plan, Scheduler
from simulator.scheduling.buddy import BuddyReservations
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler
from simulator.scheduling.reservations import Reservations, Reserve, reserved_tokens

_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)


@scheduler("orca")
class Orca(Scheduler):
    """ORCA: iteration-level scheduling and selective batching; whole prompts run together with the decodes.

    Requests start in order of arrival as soon as a slot and the memory of their whole sequence are free, so nobody is
    ever preempted. ``max_num_seqs``: most requests in a batch (the paper's max_bs). ``reserve``: memory for ``max_len``
    tokens each (``max``), for the prompt and the output rounded up to a power of two (``pow2``), or for the true length
    (``oracle``). ``contiguous``: whether a reservation is one piece of a buddy allocator, or may lie anywhere.
    """

    source = "Yu et al., Orca: A Distributed Serving System for Transformer-Based Generative Models, OSDI 2022, Alg. 1"
    recomputes = False

    def __init__(
        self, *, max_num_seqs: int = 256, reserve: Reserve = "max", max_len: int = 2048, contiguous: bool = False
    ) -> None:
        if max_num_seqs < 1 or max_len < 1:
            raise InputError(f"max_num_seqs is {max_num_seqs} and max_len {max_len}", hint="1 or more of both")
        self.max_num_seqs = max_num_seqs
        self.reserve: Reserve = reserve
        self.max_len = max_len
        self.contiguous = contiguous
        self.queue: ArrivalQueue = ArrivalQueue()

    @cached_property
    def _reserved(self) -> Reservations:
        return BuddyReservations(self.kv.total) if self.contiguous else Reservations(self.kv.total)

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Give back what a request that made its last token had reserved."""
        self._reserved.give_back(request)

    def plan(self) -> Plan:
        """Run all decodes, and the prompts of waiting requests until one finds no slot or no memory."""
        kv, queue, reserved = self.kv, self.queue, self._reserved
        kv.take(self.decodes.blocks_next())
        if not queue:
            return _STEADY
        chunks: list[Chunk] = []
        while queue and len(reserved) < self.max_num_seqs:
            request = queue.peek()
            if not reserved.take(request, kv.blocks_for(reserved_tokens(request, self.reserve, self.max_len))):
                break
            queue.pop()
            kv.admit(request)
            tokens = request.prompt_tokens - request.computed
            kv.extend(request, tokens)
            chunks.append((request, tokens))
        # Whoever is left in the queue waits for a slot or for memory, and only a finish frees either.
        return Plan(chunks, FOREVER, arrivals_matter=not queue, outlives_finishes=not queue)
