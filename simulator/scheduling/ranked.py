"""What policies that order requests have in common: the best-ranked run, as far as slots, tokens and memory go."""

from abc import abstractmethod
from typing import ClassVar

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan, Scheduler
from simulator.scheduling.preemption import discard, pause, swap_out
from simulator.scheduling.rank_heap import Rank, RankHeap

_STEADY = Plan(horizon=FOREVER, outlives_finishes=True)
_FIRST: Rank = (float("-inf"),)


class Ranked(Scheduler):
    """Decodes run with prompt chunks under a token budget (or with whole prompts), in order of rank.

    A ``preemptive`` policy gives the slot of its worst-ranked running request to a better one; who lost a slot keeps
    its KV while there is room. KV blocks are taken, from the worst-ranked first, where those that run need more and, if
    the policy ``evicts``, for a better-ranked request that waits; they are swapped to the host as far as it has room,
    else computed again. With ``whole_prompts``, prompts are not cut and the budget is of prompt tokens alone; a longer
    one goes by itself.
    """

    preemptive: bool = True
    evicts: bool = True
    whole_prompts: ClassVar[bool] = False

    def __init__(self, max_num_seqs: int, max_num_batched_tokens: int) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise InputError(
                f"max_num_seqs is {max_num_seqs} and max_num_batched_tokens {max_num_batched_tokens}",
                hint="1 <= max_num_seqs <= max_num_batched_tokens",
            )
        self.max_num_seqs = max_num_seqs
        self.max_num_batched_tokens = max_num_batched_tokens
        self.queue: RankHeap = RankHeap()
        self.running: dict[Request, None] = {}
        self._worst = RankHeap()  # of those that run, the worst-ranked first
        self._kept = RankHeap()  # of those that wait with KV on the GPU, the worst-ranked first
        self._kept_blocks = 0
        self._partial: list[Request] = []  # whose prompts the last iteration left unfinished
        self._moved = 0
        self._paid = False  # whether the blocks of the next iteration's decodes are taken

    # What a policy says.

    @abstractmethod
    def rank(self, request: Request) -> Rank:
        """Return a request's rank now; the smallest runs first."""

    def running_rank(self, request: Request) -> Rank:
        """Return the rank of a request that runs, to compare with those that wait."""
        return self.rank(request)

    def standing(self, request: Request) -> Rank:
        """Return what orders those that run, the worst-ranked smallest; it must stand while they do."""
        return tuple(-part for part in self.rank(request))

    def refresh(self) -> None:
        """Bring ranks up to date; called before every decision."""

    def begins(self, request: Request) -> None:
        """Hear that a request runs from the next iteration on."""

    def waits(self, request: Request) -> None:
        """Hear that a request came, or stopped running, and waits; its rank is asked next."""

    def left(self, request: Request) -> None:
        """Hear that a request made its last token."""

    def horizon(self) -> int:
        """Return for how many iterations the ranks decide the same, while somebody waits."""
        return FOREVER

    def until(self) -> int:
        """Return until when (ps) the ranks decide the same, while somebody waits."""
        return FOREVER

    def newcomers_matter(self) -> bool:
        """Tell whether a request that arrives could run before a finish, while somebody waits."""
        return self.preemptive or len(self.running) < self.max_num_seqs

    # What all do.

    def add(self, request: Request) -> None:
        """Queue a request."""
        self._enqueue(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token."""
        self.running.pop(request, None)
        self._worst.drop(request)
        self.left(request)

    def made(self, request: Request) -> int:
        """Return how many tokens of its output a request has made."""
        if request in self.decodes.members:
            return request.stop_at - request.finish_iteration + self.decodes.iteration - 1
        return request.generated

    def plan(self) -> Plan:
        """Let those that run make room for each other, then let others join or replace them in order of rank."""
        kv, decodes = self.kv, self.decodes
        self._moved, self._paid = 0, False
        self.refresh()
        for request in self._partial:
            self._stop(request, first=not self.preemptive)
        self._partial.clear()
        short = decodes.blocks_next() > kv.free
        while decodes.blocks_next() > kv.free and (victim := self._worst_holder()) is not None:
            self._evict(victim)
        kv.take(decodes.blocks_next())
        self._paid = True
        # Nobody takes the memory that others just had to give, unless nothing would run.
        chunks = self._fill() if self.queue and not (short and decodes) else []
        if self._moved:
            return Plan(chunks, extras=Extras(moved=self._moved))
        if chunks:
            return Plan(chunks) if self.queue or self._partial else Plan(chunks, FOREVER, True, True)
        if not self.queue:
            return _STEADY
        if short:
            return Plan()
        return Plan((), self.horizon(), self.newcomers_matter(), until=self.until())

    def _fill(self) -> list[Chunk]:
        """Let waiting requests run in order of rank until one finds no slot, no tokens or no memory."""
        kv, decodes, running, queue = self.kv, self.decodes, self.running, self.queue
        chunks: list[Chunk] = []
        budget = self.max_num_batched_tokens - (0 if self.whole_prompts else len(decodes))
        while (request := queue.first()) is not None:
            if len(running) >= self.max_num_seqs and self._outranked(request) is None:
                break
            held = request in self._kept or request in self.host.blocks
            decodable = held and request.generated > 0 and request.computed == request.tokens - 1
            tokens = request.tokens - (request.computed if held else 0)
            if not decodable and not self.whole_prompts:
                tokens = min(tokens, budget)
            if not decodable and (tokens < 1 or (self.whole_prompts and chunks and tokens > budget)):
                break
            if not self._make_room(request, tokens, held=held, idle=not chunks and not decodes):
                break
            while len(running) >= self.max_num_seqs and (worst := self._outranked(request)) is not None:
                self._stop(worst)
            queue.drop(request)
            self._unkeep(request)
            if request in self.host.blocks:
                self._moved += self.host.swap_in(request)
            elif not held:
                kv.admit(request)
                tokens = request.tokens - request.computed
                tokens = tokens if self.whole_prompts else min(tokens, budget)
            running[request] = None
            if decodable:
                decodes.add(request)
                kv.take(int(decodes.crosses(request)))
            else:
                kv.extend(request, tokens)
                chunks.append((request, tokens))
                if request.computed + tokens < request.tokens:
                    self._partial.append(request)
            if not (decodable and self.whole_prompts):
                budget -= tokens
            self.begins(request)
            self._worst.put(request, self.standing(request))
        return chunks

    def _outranked(self, request: Request) -> Request | None:
        """Return the running request whose slot a waiting one may have."""
        if not self.preemptive:
            return None
        while (worst := self._worst.first()) is not None:
            if worst.finished_at < 0:
                return worst if self.queue.rank(request) < self.running_rank(worst) else None
            self._worst.drop(worst)  # an asynchronous engine doesn't know yet that it is done; its slot stays taken
        return None

    def _make_room(self, request: Request, tokens: int, *, held: bool, idle: bool) -> bool:
        """See to it that a waiting request's KV fits; ``idle``: nothing runs as yet. Return whether it does."""
        if self._fits(request, tokens, held):
            return True
        if not (self.evicts or request.blocks or idle):
            return False
        rank = self.queue.rank(request)
        if not idle and not self._could_fit(request, tokens, rank, held):
            return False
        while not self._fits(request, tokens, held):
            victim = self._worst_holder()
            if victim is None or victim is request or not (idle or rank < self._rank_of(victim)):
                return False
            self._evict(victim)
        return True

    def _fits(self, request: Request, tokens: int, held: bool) -> bool:
        if not held:
            return self.kv.can_admit(request)
        return self.kv.blocks_for(request.computed + tokens) - request.blocks <= self.kv.free

    def _could_fit(self, request: Request, tokens: int, rank: Rank, held: bool) -> bool:
        """Tell whether a request fits if all that are ranked behind it give their memory."""
        worst = self._worst_holder()
        if worst is None or not rank < self._rank_of(worst):
            return False
        kv, decodes = self.kv, self.decodes
        need = kv.blocks_for((request.computed if held else 0) + tokens) - request.blocks - kv.free
        if not held:
            need = kv.blocks_for(request.tokens) - kv.free
        # Whoever is first in the queue ranks before all that are kept.
        need -= self._kept_blocks - request.blocks
        if need <= 0:
            return True
        for other in self.running:
            if other in decodes and rank < self.running_rank(other):
                need -= kv.blocks_for(other.offset + decodes.iteration)
        return need <= 0

    def _worst_holder(self) -> Request | None:
        """Return the worst-ranked request with KV blocks, of those that run and those that wait."""
        kept, runs = self._kept.first(), self._worst.first()
        if kept is None or runs is None:
            return kept or runs
        return kept if self.running_rank(runs) < self.queue.rank(kept) else runs

    def _rank_of(self, request: Request) -> Rank:
        return self.queue.rank(request) if request in self.queue else self.running_rank(request)

    def _stop(self, request: Request, *, first: bool = False) -> None:
        """Let a running request wait with its KV; ``first``: before all others."""
        self._pause(request)
        self._enqueue(request, first=first)
        self._keep(request)

    def _keep(self, request: Request) -> None:
        """Note that a request that waits has KV on the GPU, or a new rank."""
        if request not in self._kept:
            self._kept_blocks += request.blocks
        self._kept.put(request, tuple(-part for part in self.queue.rank(request)))

    def _unkeep(self, request: Request) -> None:
        if request in self._kept:
            self._kept_blocks -= request.blocks
            self._kept.drop(request)

    def _pause(self, request: Request) -> None:
        if request in self.decodes:
            if self._paid and self.decodes.crosses(request):
                self.kv.give_back(1)
            pause(self, request)
        self.running.pop(request, None)
        self._worst.drop(request)

    def _evict(self, request: Request) -> None:
        """Take a request's KV blocks, swapped to the host if it has room."""
        ran = request in self.running
        self._pause(request)
        self._unkeep(request)
        if request.finished_at < 0 and self.host.can_take(request):
            self._moved += swap_out(self, request)
        elif not discard(self, request):
            return
        if ran:
            self._enqueue(request)

    def _enqueue(self, request: Request, *, first: bool = False) -> None:
        self.waits(request)
        self.queue.put(request, _FIRST if first else self.rank(request))
