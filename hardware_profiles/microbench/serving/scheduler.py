"""Continuous batching as vLLM V1 does it: decodes first, then prompt chunks under a token budget, in order of arrival.

Own code after the behaviour of vLLM's scheduler; no prefix caching. Decisions run ahead of what is known: tokens count
as computed once they are scheduled, so a next iteration can be planned while one still runs.
"""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

NEVER = float("nan")


class Served:
    """A request being served: its lengths in tokens, KV blocks, and stamps (monotonic seconds, NaN until known).

    ``computed`` counts tokens whose KV is in the cache or on its way there, ``started`` output tokens made or on their
    way, ``made`` those that are there.
    """

    def __init__(self, index: int, arrival: float, prompt: int, output: int) -> None:
        self.index, self.arrival, self.prompt, self.output = index, arrival, prompt, output
        self.computed = self.started = self.made = self.preemptions = 0
        self.blocks: list[int] = []
        self.queued = self.scheduled = self.first_token = self.last_token = NEVER

    @property
    def tokens(self) -> int:
        """Tokens it has or will have when the iterations in flight are done."""
        return self.prompt + self.started


class Part(NamedTuple):
    """A request's part of an iteration: ``new`` tokens after ``past`` ones; ``samples`` if it makes an output token."""

    request: Served
    past: int
    new: int
    samples: bool


class Work(NamedTuple):
    """An iteration: decodes (one token each) come first in ``parts``; ``blocks`` are new as (request, place, block)."""

    parts: Sequence[Part]
    decodes: int
    blocks: Sequence[tuple[int, int, int]]


class Scheduler:
    """Decides who runs; owns the KV blocks. Block 0 is nobody's, as in vLLM."""

    def __init__(self, *, blocks: int, block_size: int, max_num_seqs: int, max_num_batched_tokens: int) -> None:
        if not 1 <= max_num_seqs <= max_num_batched_tokens:
            raise ValueError("max_num_seqs must be at least 1 and at most max_num_batched_tokens")
        self.block_size, self.max_num_seqs, self.budget = block_size, max_num_seqs, max_num_batched_tokens
        self.usable = blocks - 1
        self.free = deque(range(1, blocks))
        self.waiting: deque[Served] = deque()
        self.running: list[Served] = []
        self._new: list[tuple[int, int, int]] = []

    def add(self, request: Served) -> None:
        """Queue a request; ValueError if it could never be served."""
        if (needed := self.blocks_for(request.prompt + request.output)) > self.usable:
            have = f"there are {self.usable}"
            raise ValueError(f"request {request.index} needs {needed} KV blocks of {self.block_size} tokens, {have}")
        self.waiting.append(request)

    def plan(self) -> Work | None:
        """Return the next iteration, None if there is nothing to do before something arrives or finishes."""
        self._new, budget = [], self.budget
        parts: dict[Served, Part] = {}
        short = False
        for request in list(self.running):
            new = min(request.tokens - request.computed, budget)
            if request not in self.running or new == 0 or request.started == request.output:
                continue
            while not self._extend(request, new):
                short = True
                victim = self.running[-1]
                if (given_back := parts.pop(victim, None)) is not None:
                    budget += given_back.new
                self._preempt(victim, given_back)
                if victim is request:
                    break
            if request not in self.running:
                break
            parts[request] = self._part(request, new)
            budget -= new
        # Having preempted somebody, vLLM admits nobody in the same iteration.
        while not short and self.waiting and budget and len(self.running) < self.max_num_seqs:
            request = self.waiting[0]
            if self.blocks_for(request.tokens) > len(self.free):
                break
            new = min(request.tokens, budget)
            self._extend(request, new)
            self.running.append(self.waiting.popleft())
            parts[request] = self._part(request, new)
            budget -= new
        if not parts:
            return None
        ordered = sorted(parts.values(), key=lambda part: not _decodes(part))
        return Work(ordered, sum(map(_decodes, ordered)), self._new)

    def done(self, work: Work, now: float) -> list[Served]:
        """Take over that an iteration's tokens are there; return the requests that made their last one."""
        finished = []
        for request, _, _, samples in work.parts:
            if not samples:
                continue
            request.made += 1
            if request.made == 1:
                request.first_token = now
            if request.made == request.output:
                request.last_token = now
                self._release(request)
                if request in self.running:
                    self.running.remove(request)
                finished.append(request)
        return finished

    def _part(self, request: Served, new: int) -> Part:
        past = request.computed
        request.computed += new
        samples = request.computed == request.tokens
        request.started += samples
        return Part(request, past, new, samples)

    def _preempt(self, victim: Served, part: Part | None) -> None:
        """Take a victim's blocks and this iteration's part, and put it back into the queue to be computed again."""
        if part is not None:
            victim.started -= part.samples
        victim.computed = 0
        victim.preemptions += 1
        held = set(victim.blocks)
        self._new = [each for each in self._new if each[2] not in held]
        self._release(victim)
        self.running.remove(victim)
        # One whose last token is on its way needs nothing more; `done` hears of it.
        if victim.started < victim.output:
            self.waiting.appendleft(victim)

    def _release(self, request: Served) -> None:
        self.free.extend(reversed(request.blocks))
        request.blocks.clear()

    def _extend(self, request: Served, new: int) -> bool:
        """Give a request blocks for so many more tokens, if there are enough."""
        more = self.blocks_for(request.computed + new) - len(request.blocks)
        if more > len(self.free):
            return False
        for _ in range(more):
            block = self.free.popleft()
            self._new.append((request.index, len(request.blocks), block))
            request.blocks.append(block)
        return True

    def blocks_for(self, tokens: int) -> int:
        """Return how many blocks so many tokens take."""
        return -(-tokens // self.block_size)


def _decodes(part: Part) -> bool:
    return part.new == 1 and part.past >= part.request.prompt
