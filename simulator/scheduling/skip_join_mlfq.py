"""FastServe: skip-join multi-level feedback queues, and KV swapped ahead of need."""

from collections import Counter, deque
from collections.abc import Callable

from simulator.core import InputError, Request, to_ps
from simulator.core.quantity import Duration
from simulator.engine.scheduler import Chunk, Plan
from simulator.scheduling.mlfq import MLFQ
from simulator.scheduling.preemption import swap_out
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.registry import scheduler


@scheduler("skip_join_mlfq")
class SkipJoinMLFQ(MLFQ):
    """FastServe: a newcomer joins the highest queue whose quantum its prompt fits into; else as ``mlfq``.

    Every ``check_every`` iterations, whoever has waited for ``promote_after`` without a break comes to the front of the
    highest queue, the longest waiting first (defaults are the artifact's; the paper promotes after 300 ms). While the
    host has room, KV moves over the link as iterations run: while less than a block for each slot is free, out go those
    expected to run last (by the quanta of those before them, or their promotion); while more is, back come the first
    expected. ``max_num_seqs``: the batch. ``max_num_batched_tokens``: most prompt tokens an iteration computes; longer
    ones go by themselves. ``quantum``: of the first queue, ``growth`` times as long in each further one.
    """

    source = "Wu et al., Fast Distributed Inference Serving for Large Language Models, arXiv 2305.05920; its artifact"
    starves = True  # whoever was promoted gets one quantum for it

    def __init__(
        self,
        *,
        max_num_seqs: int = 16,
        max_num_batched_tokens: int = 2048,
        quantum: Duration = 0.01,
        growth: int = 2,
        promote_after: Duration = 3.0,
        check_every: int = 1000,
    ) -> None:
        super().__init__(
            max_num_seqs=max_num_seqs, max_num_batched_tokens=max_num_batched_tokens, quantum=quantum, growth=growth
        )
        if check_every < 1:
            raise InputError(f"check_every is {check_every}", hint="iterations, at least 1")
        self.promote_after = to_ps(promote_after)
        self.check_every = check_every
        self._since: dict[Request, int] = {}  # ps, since when those that wait do
        self._waiting: deque[tuple[int, Request]] = deque()
        # KV on its way, and when it is there (ps). Till then what leaves is on the GPU; what comes holds its blocks.
        self._leaving: dict[Request, int] = {}
        self._coming: dict[Request, int] = {}

    def first_queue(self, request: Request) -> int:
        """Return the highest queue whose quantum is as long as the prompt takes alone."""
        prompt, quantum, queue = self.estimates.prefill(request.prompt_tokens), self.quantum, 0
        while quantum < prompt:
            quantum *= self.growth
            queue += 1
        return queue

    def waits(self, request: Request) -> None:
        """Begin to count how long a request waits."""
        super().waits(request)
        self._wait(request)

    def _wait(self, request: Request) -> None:
        self._since[request] = self.now
        self._waiting.append((self.now, request))

    def begins(self, request: Request) -> None:
        """Call off the way out of a request that runs."""
        super().begins(request)
        del self._since[request]
        self._leaving.pop(request, None)

    def refresh(self) -> None:
        """Land what has arrived, promote who waited for long, and send KV on its way."""
        super().refresh()
        for request in [r for r, when in self._leaving.items() if when <= self.now]:
            del self._leaving[request]
            if self.host.can_take(request):  # else somebody in need took the room meanwhile
                self._unkeep(request)
                swap_out(self, request)
        for request in [r for r, when in self._coming.items() if when <= self.now]:
            self._land(request)
        if self.decodes.iteration % self.check_every == 0:
            late = []
            while self._waiting and self._waiting[0][0] + self.promote_after <= self.now:
                since, request = self._waiting.popleft()
                if self._since.get(request) == since:
                    late.append(request)
            for request in reversed(late):
                self._promote(request)
        if self.host.total:
            self._swap_ahead()
            if not self.queue and self._must_wait():
                self._land_first()

    def _promote(self, request: Request) -> None:
        self._age[request] = self.quantum
        self._wait(request)
        if request in self.queue:
            self._returns -= 1
            rank: Rank = (0, self._returns)
            self.queue.put(request, rank)
            if request in self._kept:
                self._keep(request)

    def _swap_ahead(self) -> None:
        """Start moving KV out while free blocks are short, else back in while they are not."""
        host = self.host
        if self._short_by() > 0:
            room = self._host_room()
            leavers = [r for r in self._kept if r not in self._leaving and r.blocks <= room]
            if leavers:
                runs_at = self._expected()
                for request in sorted(leavers, key=runs_at, reverse=True):
                    if self._short_by() > 0 and request.blocks <= self._host_room():
                        self._leaving[request] = host.ready_at(request.computed, self.now)
        elif self._some_can_come():
            runs_at = self._expected()
            for request in sorted(host.blocks, key=runs_at):
                if self._can_come(request) and len(self._coming) < self.max_num_seqs:
                    host.swap_in(request)
                    self.queue.drop(request)
                    self._coming[request] = host.ready_at(request.computed, self.now)

    def _short_by(self) -> int:
        """Return how many blocks are missing to one for each slot, when all that leaves is gone."""
        return self.max_num_seqs - self.kv.free - sum(request.blocks for request in self._leaving)

    def _host_room(self) -> int:
        """Return the host's free blocks, when all that leaves is there."""
        return self.host.free - sum(request.blocks for request in self._leaving)

    def _some_can_come(self) -> bool:
        if self._leaving or len(self._coming) >= self.max_num_seqs:
            return False
        return any(self._can_come(request) for request in self.host.blocks)

    def _can_come(self, request: Request) -> bool:
        return self.kv.blocks_for(request.computed) + self.max_num_seqs <= self.kv.free

    def _expected(self) -> Callable[[Request], tuple[int, Rank]]:
        """Return what tells when (ps) one that waits is expected to run next, and its rank for ties.

        That is when those in higher queues had a quantum each, or when it is promoted.
        """
        waiting = Counter(int(self.queue.rank(request)[0]) for request in self.queue)
        served_at, ahead = {}, 0
        for level in sorted(waiting):
            served_at[level] = self.now + ahead // self.max_num_seqs
            ahead += waiting[level] * self.quantum_of(level)
        rank, since, patience = self.queue.rank, self._since, self.promote_after
        return lambda r: (min(served_at[int(rank(r)[0])], since[r] + patience), rank(r))

    def _land(self, request: Request) -> None:
        """Let a request whose KV has come back run again."""
        del self._coming[request]
        self.queue.put(request, self.rank(request))
        self._keep(request)

    def _must_wait(self) -> bool:
        """Tell whether nothing runs before KV comes, for which there is a slot."""
        return bool(self._coming) and not self.decodes and len(self.running) < self.max_num_seqs

    def _land_first(self) -> None:
        """Wait for the next KV that comes, since nothing else can run."""
        request = min(self._coming, key=lambda r: self._coming[r])
        self._moved += request.computed
        self._land(request)

    def _fill(self) -> list[Chunk]:
        chunks = super()._fill()
        while not chunks and self._must_wait():
            self._land_first()
            chunks = super()._fill()
        return chunks

    def _evict(self, request: Request) -> None:
        self._leaving.pop(request, None)
        super()._evict(request)

    def plan(self) -> Plan:
        """Plan as the queues say, no longer than until KV that is on its way arrives."""
        plan = super().plan()
        if not self._coming or (plan.extras and plan.extras.moved):
            return plan
        return plan._replace(
            horizon=min(plan.horizon, self.horizon()), outlives_finishes=False, until=min(plan.until, self.until())
        )

    def horizon(self) -> int:
        """Return when to look who has waited, or when those that decode took so much that others must leave."""
        decodes = self.decodes
        if self._some_can_come():
            return 1  # the plan itself made the room, after what was sent on its way
        look = self.check_every - decodes.iteration % self.check_every
        room = self._host_room()
        if room <= 0 or not decodes or not any(r not in self._leaving and r.blocks <= room for r in self._kept):
            return look
        slack, most = -self._short_by(), decodes.next_finish - decodes.iteration + 1
        return min(look, decodes.iterations_that_fit(decodes.iteration + 1, slack, most) + 2) if slack >= 0 else 1

    def until(self) -> int:
        """Return when a queue changes, or KV arrives."""
        return min([super().until(), *self._leaving.values(), *self._coming.values()])

    def left(self, request: Request) -> None:
        """Forget a request."""
        super().left(request)
        self._since.pop(request, None)
