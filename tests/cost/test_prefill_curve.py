"""Prompt attention of chunks: exact at what was measured, and chunks of a prompt add up to about the prompt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cost.attention_table import AttentionShape, AttentionTable
from simulator.cost.layer_attention import LayerAttention
from simulator.cost.prefill_curve import PrefillCurve, pairs_of
from simulator.hardware.registry import load_profile

BATCH, LENGTH = np.array([1.0, 4, 16]), np.array([16.0, 256, 1024, 4096])
# Neither a power law nor anything else that interpolation could guess.
SECONDS = np.array([[3e-6, 7e-6, 4e-5, 5e-4], [5e-6, 2e-5, 2e-4, 2.1e-3], [9e-6, 6e-5, 7e-4, 8e-3]])
CURVE = PrefillCurve(AttentionTable(BATCH, LENGTH, SECONDS, ""))


def seconds(curve, chunks, window=0):
    """Return the time of chunks of (cached, new) tokens in one iteration."""
    return curve.seconds(sum(new for _, new in chunks), sum(pairs_of(new, cached, window) for cached, new in chunks))


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("column", range(4))
def test_equal_whole_prompts_take_what_was_measured_for_such_a_batch(row, column):
    prompts = [(0, int(LENGTH[column]))] * int(BATCH[row])
    assert seconds(CURVE, prompts) == pytest.approx(SECONDS[row, column], rel=1e-9)


def test_between_and_beyond_knots_time_is_a_power_law():
    between = seconds(CURVE, [(0, 2048)])
    assert between == pytest.approx((4e-5 * 5e-4) ** 0.5, rel=1e-9)
    assert seconds(CURVE, [(0, 4 * 4096)]) == pytest.approx(5e-4 * 12.5, rel=1e-9)
    assert seconds(CURVE, [(0, 4096)] * 64) == pytest.approx(8e-3 * 8 / 2.1, rel=1e-9)


def test_a_prompt_of_one_token_takes_the_shortest_measured():
    assert seconds(CURVE, [(0, 1)]) == pytest.approx(SECONDS[0, 0])


@given(st.integers(0, 4000), st.integers(1, 4000))
def test_pairs_are_counted_as_a_causal_mask_draws_them(cached, new):
    # Each token counts half of itself, so that a prompt of n has n * n / 2 pairs.
    assert pairs_of(new, cached, 0) == pytest.approx(sum(cached + at + 0.5 for at in range(new)))
    window = 700
    drawn = sum(min(cached + at + 0.5, window) for at in range(new))
    assert pairs_of(new, cached, window) == pytest.approx(drawn, abs=1)


@given(st.integers(0, 10_000), st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 3000))
def test_pairs_of_two_chunks_are_those_of_both_as_one(cached, first, second, window):
    whole = pairs_of(first + second, cached, window)
    assert pairs_of(first, cached, window) + pairs_of(second, cached + first, window) == pytest.approx(whole)


DENSE = 2.0 ** np.arange(4, 14)
GROWN = AttentionTable(BATCH, DENSE, 2e-6 + 1e-11 * BATCH[:, None] * DENSE**2, "")


@given(st.integers(0, 30_000), st.integers(1, 8000), st.integers(1, 8000))
def test_more_tokens_and_more_before_them_take_longer(cached, new, more):
    curve = PrefillCurve(GROWN)
    # Between two knots a power law is off by as much as it bends: under a percent where they are a factor of 2 apart.
    now = 0.99 * seconds(curve, [(cached, new)])
    assert seconds(curve, [(cached + more, new)]) > now
    assert seconds(curve, [(cached, new + more)]) > now
    assert seconds(curve, [(cached, new), (0, more)]) > now


# Chunks of 2,048 tokens against the prompt as one. L40S: its table jumps by a tenth between 2,048 and 4,096.
@pytest.mark.parametrize(
    ("hardware", "error"),
    [("a100_sxm", 0.06), ("h100_sxm", 0.06), ("h200_sxm", 0.04), ("l40s", 0.12), ("rtx_pro_6000", 0.04)],
)
@pytest.mark.parametrize("whole", [4096, 8192, 16_384, 32_768])
def test_chunks_of_a_prompt_add_up_to_about_the_prompt(hardware, error, whole):
    profile = load_profile(hardware)
    library = max(name for name in profile.tables.libraries() if profile.tables.measured(name, "prefill_attention"))
    made = LayerAttention(profile, library, AttentionShape(32, 8, 128, 0, "bfloat16"), 2.0)
    chunk = 2048
    parts = sum(made.prompts(chunk, pairs_of(chunk, at, 0), at + chunk) for at in range(0, whole, chunk))
    assert parts == pytest.approx(made.prompts(whole, pairs_of(whole, 0, 0), whole), rel=error)


def test_a_chunk_late_in_a_prompt_takes_longer_than_an_early_one():
    early, late = ([(at, 512)] for at in (0, 7680))
    curve = PrefillCurve(GROWN)
    assert seconds(curve, late) / seconds(curve, early) > 10
