"""Early exit and layer skipping: how deep a batch goes, exactly, and what its layers then take."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost.depth import Depths, EarlyExitTerms, SkippedLayers


class Plain:
    """Layers of 10 s and 1 s a token; attention of 1 s a KV token; head of 3 s."""

    adds_up = True
    knots = np.array([1.0, 1000.0])
    notes = {}

    def dense(self, tokens):
        return 10.0 + tokens

    dense_with_prompts = dense

    def sample(self, requests):
        return 3.0 + 0 * requests

    def decode(self, batch, context):
        return batch * context * 1.0

    def skew(self, batch):
        return 0.0

    def prompts(self, chunks, tokens, requests, context, longest):
        return 100.0

    def beyond(self, seen):
        return []


def exits(**options):
    defaults = {"shrinks": False, "prompts_too": False, "checks": 0, "fill": None}
    return EarlyExitTerms(Plain(), Depths([0.5], [0.6]), **{**defaults, **options})


def test_mean_depth():
    assert Depths([0.25, 0.5], [0.5, 0.25]).mean == 0.25 * 0.5 + 0.5 * 0.25 + 0.25


@given(st.integers(1, 60))
def test_the_deepest_of_a_batch(batch):
    expected = 0.5 * 0.6**batch + 1.0 * (1 - 0.6**batch)
    assert float(Depths([0.5], [0.6]).deepest(np.array(float(batch)))) == pytest.approx(expected, rel=1e-12)


def test_depths_in_any_order_are_the_same():
    batch = np.arange(1.0, 9.0)
    one, other = Depths([0.75, 0.5], [0.1, 0.6]), Depths([0.5, 0.75], [0.6, 0.1])
    assert (one.deepest(batch) == other.deepest(batch)).all()


def test_a_batch_that_waits_runs_to_its_deepest_and_a_large_one_gains_nothing():
    terms = exits()
    assert terms.dense(np.array([1.0]))[0] == pytest.approx(0.7 * 11)
    assert terms.dense(np.array([40.0]))[0] == pytest.approx(50, rel=1e-6)
    assert terms.decode(np.array([1.0]), np.array([100.0]))[0] == pytest.approx(0.7 * 100)


def test_a_batch_that_shrinks_runs_its_deeper_layers_with_who_is_left():
    terms = exits(shrinks=True)
    assert terms.dense(np.array([20.0]))[0] == pytest.approx(0.5 * 30 + 0.5 * (10 + 8))
    assert terms.decode(np.array([20.0]), np.array([100.0]))[0] == pytest.approx(100 * (0.5 * 20 + 0.5 * 8))
    # One request alone runs the deeper half with its chance of going on.
    assert terms.dense(np.array([1.0]))[0] == pytest.approx(0.5 * 11 + 0.5 * 0.4 * 11)


def test_skipped_layers_keys_and_values_are_filled():
    terms = exits(fill=lambda tokens: 2.0 * tokens)
    assert terms.dense(np.array([1.0]))[0] == pytest.approx(0.7 * 11 + 0.3 * 2)
    shrinks = exits(shrinks=True, fill=lambda tokens: 2.0 * tokens)
    assert shrinks.dense(np.array([20.0]))[0] == pytest.approx(0.5 * 30 + 0.5 * 18 + 0.5 * 2 * 12)


def test_prompts_leave_early_only_with_whole_requests():
    assert exits().prompts((), 1, 0, 0, 0) == 100 and exits().dense_with_prompts(np.array([90.0]))[0] == 100
    whole = exits(prompts_too=True)
    assert whole.prompts((), 1, 0, 0, 0) == pytest.approx(70)
    assert whole.dense_with_prompts(np.array([90.0]))[0] == pytest.approx(70)


def test_every_look_at_the_head_costs_one():
    assert exits(checks=2).sample(np.array([5.0]))[0] == 9


def test_aligned_skipping_leaves_layers_out_and_other_skipping_only_tokens():
    aligned, own = SkippedLayers(Plain(), 0.25, aligned=True), SkippedLayers(Plain(), 0.25, aligned=False)
    tokens = np.array([20.0])
    assert aligned.dense(tokens)[0] == 0.75 * 30 and own.dense(tokens)[0] == 10 + 15
    assert aligned.dense_with_prompts(tokens)[0] == 30 and own.dense_with_prompts(tokens)[0] == 25
    assert own.decode(tokens, np.array([100.0]))[0] == pytest.approx(15 * 75)
