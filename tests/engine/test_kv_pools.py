"""Both KV pools against a model that looks through all blocks."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.block_model import BlockModel

from simulator.core import Request, Segment
from simulator.engine.decode_set import DecodeSet
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.prefix_pool import PrefixPool


def pool_of(kind, total, block_size, *, reuse=True):
    """Return a pool as an engine with nobody decoding has it."""
    pool = kind(total, block_size) if kind is PrefixPool else kind(total, block_size, reuse=reuse)
    pool.decodes = DecodeSet(block_size, lambda *_: None)
    return pool


class Both:
    """A pool and its model, told the same and compared after every step."""

    def __init__(self, pool: KVPool, model: BlockModel) -> None:
        self.pool = pool
        self.model = model

    def admit(self, request):
        assert self.pool.can_admit(request) == self.model.can_admit(request)
        if not self.model.can_admit(request):
            return False
        self.pool.admit(request)
        assert request.computed == self.model.admit(request)
        self.extend(request, request.tokens - request.computed)
        request.generated += 1  # made from the last of these tokens, and not written yet
        return True

    def extend(self, request, tokens):
        self.pool.extend(request, tokens)
        request.computed += tokens
        self.model.compute(request, tokens)
        self.model.remember(request)
        self.check(request)

    def decode(self, request, tokens):
        """Let a request make tokens: each time, the one made before is written."""
        for _ in range(tokens):
            opens = request.computed % self.pool.block_size == 0
            if opens and self.model.free == 0:
                return
            if opens:
                self.pool.take(1)
            self.model.compute(request, 1)
            request.computed += 1
            request.generated += 1
            assert self.pool.free == self.model.free

    def release(self, request, *, resumes):
        request.blocks = self.pool.blocks_for(request.computed)
        self.pool.release(request, resumes=resumes)
        self.model.release(request)
        request.computed = 0
        request.preemptions += resumes
        self.check(request)

    def check(self, request):
        held = self.model.holdings.get(request)
        assert request.blocks == (len(held.blocks) if held else 0)
        assert self.pool.free == self.model.free
        assert self.pool.used == self.pool.total - self.pool.free
        held = sum(len(holding.blocks) for holding in self.model.holdings.values())
        assert self.pool.shared == held - self.pool.used


def replay(both, requests, rng):
    """Drive a pool through two hundred admissions, decodes, preemptions and finishes, then empty it."""
    waiting, running = list(requests), []
    for action in rng.choice(["admit", "decode", "decode", "preempt", "finish"], 200).tolist():
        if action == "admit" and waiting:
            request = waiting[rng.integers(len(waiting))]
            if both.admit(request):
                waiting.remove(request)
                running.append(request)
        elif action != "admit" and running:
            request = running[rng.integers(len(running))]
            if action == "decode":
                both.decode(request, int(rng.integers(1, 6)))
            else:
                running.remove(request)
                both.release(request, resumes=action == "preempt")
                if action == "preempt":
                    waiting.append(request)
                else:
                    # Somebody else with the same prompt comes later.
                    again = Request(request.index + 100, 0, request.prompt_tokens, 1000, segments=request.segments)
                    waiting.append(again)
    for request in running:
        both.release(request, resumes=False)
    both.pool.check_integrity()


seeds, block_sizes, totals = st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(3, 24)


@given(seeds, totals, block_sizes, st.booleans())
def test_counting_is_enough_where_nobody_shares(seed, total, block_size, reuse):
    rng = np.random.default_rng(seed)
    requests = [Request(index, 0, int(rng.integers(1, 15)), 1000) for index in range(6)]
    both = Both(pool_of(CountingPool, total, block_size, reuse=reuse), BlockModel(total, block_size, reuse=reuse))
    replay(both, requests, rng)


@given(seeds, totals, block_sizes)
def test_the_prefix_pool_shares_and_evicts_as_a_search_through_all_blocks(seed, total, block_size):
    rng = np.random.default_rng(seed)
    requests = []
    for index in range(6):
        # Everybody's first tokens, then a group's, then the request's own.
        common, group, own = (int(number) for number in rng.integers([0, 0, 1], [9, 9, 6]))
        segments = [Segment(100, common)] if common else []
        if group:
            segments.append(Segment(int(rng.integers(3)), common + group))
        requests.append(Request(index, 0, common + group + own, 1000, segments=tuple(segments)))
    replay(Both(pool_of(PrefixPool, total, block_size), BlockModel(total, block_size, reuse=True)), requests, rng)


def test_blocks_hold_whole_blocks_of_tokens():
    pool = pool_of(CountingPool, 4, 16)
    assert [pool.blocks_for(tokens) for tokens in (0, 1, 16, 17, 32, 33)] == [0, 1, 1, 2, 2, 3]


@pytest.mark.parametrize("kind", [CountingPool, PrefixPool])
def test_a_leak_is_noticed(kind):
    pool = pool_of(kind, 4, 16)
    pool.take(1)
    with pytest.raises(AssertionError, match="1 KV blocks leaked"):
        pool.check_integrity()


def test_a_common_prefix_is_stored_once():
    pool = pool_of(PrefixPool, 10, 4)
    first, second = (Request(index, 0, 12, 5, segments=(Segment(7, 8),)) for index in range(2))
    pool.admit(first)
    pool.extend(first, 12)
    assert (pool.used, first.blocks) == (3, 3)
    pool.admit(second)
    assert second.computed == 8
    pool.extend(second, 4)
    assert (pool.used, second.blocks) == (4, 3)


def test_the_last_token_of_a_cached_prompt_is_computed_again():
    pool = pool_of(PrefixPool, 10, 4)
    first, second = (Request(index, 0, 8, 5, segments=(Segment(7, 8),)) for index in range(2))
    pool.admit(first)
    pool.extend(first, 8)
    pool.admit(second)
    assert second.computed == 4


def test_a_preempted_request_finds_what_nobody_overwrote():
    pool = pool_of(CountingPool, 4, 4)
    victim, other = Request(0, 0, 12, 5), Request(1, 0, 5, 5)
    pool.admit(victim)
    pool.extend(victim, 12)
    victim.computed = 12
    pool.release(victim, resumes=True)
    pool.admit(other)
    pool.extend(other, 5)  # one empty block, then the victim's last
    pool.admit(victim)
    assert (victim.computed, victim.blocks) == (8, 2)


def test_without_caching_nothing_is_found_again():
    pool = pool_of(CountingPool, 4, 4, reuse=False)
    victim = Request(0, 0, 12, 5)
    pool.admit(victim)
    pool.extend(victim, 12)
    victim.computed = 12
    pool.release(victim, resumes=True)
    pool.admit(victim)
    assert (victim.computed, pool.free) == (0, 4)


def test_pieces_of_a_prefix_become_one_again():
    # Everybody uses another length of the same content, which cuts it up; who uses it all then leaves it whole.
    pool = pool_of(PrefixPool, 100, 1)
    users = [Request(index, 0, 41 - index, 5, segments=(Segment(7, 40 - index),)) for index in range(20)]
    for user in users:
        pool.admit(user)
        pool.extend(user, user.prompt_tokens - user.computed)
        user.computed = user.prompt_tokens
    assert pool.used == 40 + len(users)
    for user in users:
        pool.release(user)
    pieces = []
    for index in (50, 51):
        user = Request(index, 0, 41, 5, segments=(Segment(7, 40),))
        pool.admit(user)
        assert user.computed == 40
        pieces.append(len(pool._held[user].extents))
        pool.release(user)
    assert pieces == [20, 1]


def test_a_long_prefix_costs_no_more_than_a_short_one():
    def calls(tokens):
        pool, count = pool_of(PrefixPool, 10**6, 1), 0

        def tick(frame, event, arg):
            nonlocal count
            count += event == "call"

        sys.setprofile(tick)
        try:
            for index in range(5):
                request = Request(index, 0, tokens, 5, segments=(Segment(7, tokens - 1),))
                pool.admit(request)
                pool.extend(request, tokens - request.computed)
                request.computed = tokens
                pool.release(request)
        finally:
            sys.setprofile(None)
        return count

    assert calls(100_000) == calls(100)
