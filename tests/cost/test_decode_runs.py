"""A run of decode iterations has a closed form, to the picosecond: across knots, under a floor, with skew."""

from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import Batch
from support.costs import KnottyCost
from support.gpus import decode_attention, gpu, host, model
from support.worlds import measured, roofline

from simulator.core.units import PS_PER_S
from simulator.cost.base import FixedCost
from simulator.cost.decode_curve import DecodeCurves
from simulator.cost.iteration import IterationCost
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.cost.wrapped_terms import WrappedTerms

KNOTS = (2, 10, 30, 90, 300, 1000)


def bent(batch, context):
    """Seconds of a made-up kernel with a new slope at every knot of ``KNOTS``."""
    return 1e-6 + 3e-9 * batch**0.9 * context**1.1


class Skewed(WrappedTerms):
    def skew(self, batch):
        return 0.37 / batch**0.5 if batch > 1 else 0.0


def dense_in_knots(*, skewed=False, **spent):
    """Return the cost of a small model whose attention table has a knot every few tokens."""
    profile = gpu([decode_attention(bent, context=KNOTS)])
    terms = KernelTerms(model(), profile, Parallelism(), "vllm-1.0")
    return IterationCost(Skewed(terms, "skew", "made up") if skewed else terms, host(**spent), 0, {})


COSTS = {
    "fixed": lambda: FixedCost(777),
    "knotty": lambda: KnottyCost(base=1000, total_width=37, longest_width=11, slopes=(5, 0, 13)),
    "roofline": lambda: roofline("h100_sxm", "llama-3.1-8b"),
    "kernels": measured,
    "kernels under a floor": lambda: measured("h200_sxm", "llama-3.1-8b", "trtllm"),
    "layers with skew": lambda: measured("rtx_4090", "llama-3.1-8b"),
    "windows beside none": lambda: measured("h100_sxm", "gpt-oss-20b"),
    "latent attention": lambda: measured("h200_sxm", "deepseek-v2-lite"),
    "many knots": dense_in_knots,
    "many knots, skewed": lambda: dense_in_knots(skewed=True),
    "many knots, a floor between": lambda: dense_in_knots(floor_iteration="200us", floor_sequence="2us"),
}


@cache
def cost_of(name):
    """Return a cost by its name in ``COSTS``, made once."""
    return COSTS[name]()


@pytest.mark.parametrize("name", COSTS)
@given(contexts=st.lists(st.integers(1, 5000), min_size=1, max_size=24), at=st.lists(st.integers(0, 600), max_size=8))
def test_a_run_is_its_single_steps(name, contexts, at):
    cost, batch = cost_of(name), Batch(contexts)
    first, growth, limit = batch.run(cost)
    assert limit >= 1
    assert growth >= 0
    for n in [1, 2, limit - 1, *at]:
        if 0 <= n < limit:
            assert batch.later(n).run(cost)[0] == first + n * growth


@pytest.mark.parametrize("name", COSTS)
@given(contexts=st.lists(st.integers(1, 40), min_size=1, max_size=12))
def test_runs_that_follow_one_another_are_the_single_steps(name, contexts):
    cost, batch, durations = cost_of(name), Batch(contexts), []
    while len(durations) < 60:
        first, growth, limit = batch.run(cost)
        taken = min(limit, 60 - len(durations))
        durations += [first + n * growth for n in range(taken)]
        batch = batch.later(taken)
    assert durations == [Batch(contexts).later(n).run(cost)[0] for n in range(60)]


@pytest.mark.parametrize("name", ["knotty", "many knots", "many knots, skewed"])
def test_a_run_ends_where_the_next_iteration_would_leave_its_line(name):
    cost, batch, ended = cost_of(name), Batch([5, 6, 7]), 0
    for _ in range(4):
        first, growth, limit = batch.run(cost)
        batch = batch.later(limit)
        ended += batch.run(cost)[0] != first + limit * growth or batch.run(cost)[1] != growth
    assert ended == 4, "a run that goes on as before need not have ended"


@pytest.mark.parametrize("batch", [1, 3, 16, 100])
def test_a_curve_is_the_table_at_knots_and_straight_between(batch):
    curves = DecodeCurves(bent, cost_of("many knots")._terms.knots)
    for low, high in pairwise(KNOTS):
        at_low, slope, left = curves.at(batch, batch * low)
        at_high = curves.at(batch, batch * high)[0]
        assert at_low == round(bent(batch, low) * PS_PER_S)
        assert left == batch * (high - low)
        # The slope is whole picoseconds a KV token: what that loses over a segment is a jump at its end.
        assert 0 <= at_high - (at_low + slope * left) <= left


def test_a_curve_goes_on_beyond_its_last_knot_and_is_flat_before_its_first():
    curves = DecodeCurves(bent, cost_of("many knots")._terms.knots)
    _, slope, _ = curves.at(4, 4 * 500)
    assert curves.at(4, 4 * 1_000_000)[1] == slope
    assert curves.at(4, 4 * 1_000_000)[2] > 2**60
    assert curves.at(4, 4)[:2] == (round(bent(4, 2) * PS_PER_S), 0)


def test_a_floor_holds_until_the_gpu_takes_longer():
    free, floored = cost_of("many knots"), cost_of("many knots, a floor between")
    seen = set()
    for context in range(2, 990, 7):
        batch = Batch([context] * 9)
        floor = round((200e-6 + 9 * 2e-6) * PS_PER_S)
        assert batch.run(floored)[0] == max(floor, batch.run(free)[0])
        seen.add(batch.run(floored)[0] == floor)
    assert seen == {True, False}, "the test crosses the floor"


def test_a_skewed_batch_waits_for_its_longest_context():
    even, skewed = cost_of("many knots"), cost_of("many knots, skewed")
    assert Batch([200] * 9).run(skewed)[0] == Batch([200] * 9).run(even)[0]
    contexts = [100] * 8 + [1000]
    share, alone, longest = 0.37 / 3, Batch(contexts).run(even)[0], Batch([1000] * 9).run(even)[0]
    assert Batch(contexts).run(skewed)[0] == pytest.approx(alone + share * (longest - alone), rel=1e-5)
