"""Attention of heads that nobody measured, scaled from heads that were; holes of a table filled."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gpus import LIBRARY, decode_attention, gpu, prompt_attention

from simulator.cost.attention_table import AttentionShape, filled, find_attention
from simulator.cost.layer_attention import LayerAttention, shape_on_gpu
from simulator.cost.prefill_curve import pairs_of
from simulator.hardware.registry import load_profile

SHAPE = AttentionShape(8, 8, 128, 0, "bfloat16")
KNOWN = (1.0, 16.0, 256.0), (1.0, 100.0, 1000.0, 10_000.0)


def kernel(batch, context):
    return 1e-6 + 2e-9 * batch * context


def prompt(batch, new):
    return 1e-9 * batch * new**1.5


def attention(grids, shape=SHAPE, **sections):
    return LayerAttention(gpu(grids, **sections), LIBRARY, shape, 2.0)


def decode(made, batch, context):
    return float(made.decode(np.array(float(batch)), np.array(float(context))))


@given(st.integers(1, 256), st.integers(1, 10_000))
def test_the_measured_shape_is_read_off_its_table(batch, context):
    made = attention([decode_attention(kernel)])
    assert made.notes["decode"] == f"measured ({LIBRARY})"
    assert decode(made, batch, context) == pytest.approx(kernel(batch, context))


@given(st.integers(1, 64), st.integers(1, 10_000))
def test_heads_of_their_own_are_groups_of_fewer(batch, context):
    # Each head's work is its own: 32 of 32 over one sequence are 8 of 8 over four.
    made = attention([decode_attention(kernel)], AttentionShape(32, 32, 128, 0, "bfloat16"))
    assert decode(made, batch, context) == pytest.approx(
        decode(attention([decode_attention(kernel)]), 4 * batch, context)
    )
    assert made.notes["decode"].endswith("32 KV heads as 4 times 8")


def test_prompts_of_heads_of_their_own_are_groups_of_fewer_too():
    few = attention([prompt_attention(prompt)])
    many = attention([prompt_attention(prompt)], AttentionShape(32, 32, 128, 0, "bfloat16"))
    assert many.prompts(256, pairs_of(256, 0, 0), 256) == pytest.approx(prompt(4, 256))
    assert few.prompts(256, pairs_of(256, 0, 0), 256) == pytest.approx(prompt(1, 256))


def test_heads_between_two_measured_numbers_take_a_time_between():
    grids = [decode_attention(lambda b, c, h=h: h * kernel(b, c), heads=h, kv_heads=4) for h in (16, 64)]
    made = attention(grids, AttentionShape(32, 4, 128, 0, "bfloat16"))
    assert decode(made, 16, 1000) == pytest.approx(32 * kernel(16, 1000)), "a power law of the heads"
    assert made.notes["decode"].endswith("32 heads between 16 and 64")
    beyond = attention(grids, AttentionShape(128, 4, 128, 0, "bfloat16"))
    assert beyond.notes["decode"] == "roofline", "beyond the measured numbers nothing is known"


def test_another_head_size_goes_by_its_bytes():
    made = attention([decode_attention(kernel)], AttentionShape(8, 8, 96, 0, "bfloat16"))
    assert decode(made, 16, 1000) == pytest.approx(0.75 * kernel(16, 1000))
    assert made.notes["decode"].endswith("head size 96 from 128")
    nearer = [decode_attention(kernel), decode_attention(lambda b, c: 7 * kernel(b, c), head_dim=64)]
    assert decode(attention(nearer, AttentionShape(8, 8, 72, 0, "bfloat16")), 16, 1000) == pytest.approx(
        7 * kernel(16, 1000) * 72 / 64
    )


def test_a_measured_window_is_taken_as_measured():
    grids = [decode_attention(kernel), decode_attention(lambda b, c: kernel(b, np.minimum(c, 900)), window=100)]
    made = attention(grids, AttentionShape(8, 8, 128, 100, "bfloat16"))
    assert decode(made, 16, 10_000) == pytest.approx(kernel(16, 900))


@pytest.mark.parametrize("window", [100, 150])
@pytest.mark.parametrize("grids", [[decode_attention(kernel)], []], ids=["table", "roofline"])
def test_a_window_caps_what_a_decode_reads(grids, window):
    windowed, full = (attention(grids, AttentionShape(8, 8, 128, each, "bfloat16")) for each in (window, 0))
    assert window in windowed.knots
    for context in (window, 500, 10_000, 1_000_000):
        assert decode(windowed, 16, context) == pytest.approx(decode(full, 16, window))
    assert decode(windowed, 16, 60) == pytest.approx(decode(full, 16, 60))


@pytest.mark.parametrize("cached", [0, 300, 5000])
@pytest.mark.parametrize("window", [16, 256, 1000])
def test_a_window_that_was_not_measured_caps_what_a_prompt_attends_to(window, cached):
    # A table without a window says what so many pairs cost; a long prompt's tokens each see a window of them.
    made = attention([prompt_attention(prompt)], AttentionShape(8, 8, 128, window, "bfloat16"))
    new = 2000
    pairs = pairs_of(new, cached, window)
    whole = 2 * pairs / new  # a prompt whose tokens attend to as many on average
    assert made.prompts(new, pairs, cached + new) == pytest.approx(prompt(new / whole, whole), rel=1e-6)
    twice = made.prompts(2 * new, pairs_of(2 * new, cached + window, window), cached + 2 * new)
    assert twice == pytest.approx(2 * made.prompts(new, pairs_of(new, cached + window, window), cached + new), rel=1e-6)


def test_a_long_prompt_in_a_measured_window_grows_with_its_tokens():
    # 1e-9 s for each pair: linear in the prompt once it is longer than the window.
    window = 128

    def banded(batch, new):
        return 1e-9 * batch * np.where(new <= window, new * new / 2, new * window - window * window / 2)

    knots = (16, 64, 128, 256, 512, 1024, 2048, 4096)
    made = attention(
        [prompt_attention(banded, new=knots, window=window)], AttentionShape(8, 8, 128, window, "bfloat16")
    )
    for new in knots:
        assert made.prompts(new, pairs_of(new, 0, window), new) == pytest.approx(banded(1, new))


def test_other_kv_types_are_not_mistaken_for_this_one():
    grids = [decode_attention(kernel, kv_dtype="fp8"), prompt_attention(prompt, kv_dtype="fp8")]
    assert attention(grids).notes == {"decode": "roofline", "prompt": "roofline"}
    # Prompts are computed in 16 bit unless only something else was measured.
    both = [*grids, prompt_attention(lambda b, s: 9 * prompt(b, s), kv_dtype="fp8", attn_dtype="fp8")]
    shape = AttentionShape(8, 8, 128, 0, "fp8")
    assert attention(both, shape).prompts(256, pairs_of(256, 0, 0), 256) == pytest.approx(prompt(1, 256))
    assert attention(both[2:], shape).prompts(256, pairs_of(256, 0, 0), 256) == pytest.approx(9 * prompt(1, 256))


@given(st.integers(257, 2048), st.integers(10_001, 100_000))
def test_beyond_the_table_decode_grows_with_what_is_read(batch, context):
    made = attention([decode_attention(kernel)])
    edge = decode(made, 256, 10_000)
    assert decode(made, batch, 10_000) == pytest.approx(edge * batch / 256)
    assert decode(made, 256, context) == pytest.approx(edge * context / 10_000)
    assert (made.batches, made.contexts) == (256, 10_000)


def test_holes_are_filled_along_the_length_and_batches_without_two_lengths_left_out():
    batch, length = np.array([1.0, 2, 4]), np.array([1.0, 2, 4, 8])
    nan = np.nan
    measured = np.array([[1, nan, 4, nan], [1, 2, nan, nan], [nan, nan, 9, nan]])
    table = filled(batch, length, measured, quadratic=False)
    assert table.batch.tolist() == [1, 2]
    # The smallest batch goes on as it came; twice the batch grows twice as fast.
    np.testing.assert_allclose(table.seconds[0], [1, 2, 4, 8])
    np.testing.assert_allclose(table.seconds[1], [1, 2, 2 + 2 * 2, 2 + 2 * 6])
    squared = filled(batch, length, measured, quadratic=True)
    np.testing.assert_allclose(squared.seconds[0], [1, 2, 4, 4 + 3 / 15 * 48])
    assert filled(batch, length, measured[:, 3:], quadratic=False) is None


def test_noise_that_says_more_context_is_faster_is_ironed_out():
    table = filled(np.array([1.0]), np.array([1.0, 2, 3]), np.array([[5.0, 4.0, 6.0]]), quadratic=False)
    assert table.seconds.tolist() == [[5, 5, 6]]


def test_kv_heads_are_replicated_where_there_are_fewer_than_gpus():
    assert shape_on_gpu(32, 8, 128, 0, "bfloat16", 4) == AttentionShape(8, 2, 128, 0, "bfloat16")
    assert shape_on_gpu(32, 2, 128, 0, "bfloat16", 8) == AttentionShape(4, 1, 128, 0, "bfloat16")


@pytest.mark.parametrize("hardware", ["a100_sxm", "h100_sxm", "h200_sxm", "l40s", "rtx_pro_6000"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(32, 8), (8, 1), (64, 8), (32, 32)])
def test_shipped_tables_have_the_heads_of_known_models(hardware, heads, kv_heads):
    profile = load_profile(hardware)
    library = max(name for name in profile.tables.libraries() if profile.tables.measured(name, "decode_attention"))
    for operator in ("decode_attention", "prefill_attention"):
        found = find_attention(profile.tables, library, operator, AttentionShape(heads, kv_heads, 128, 0, "bfloat16"))
        assert found is not None
        assert np.isfinite(found.seconds).all()
        assert (found.seconds > 1e-6).all()
        # Reading the cache takes at least as long as it needs to cross the memory bus.
        if operator == "decode_attention":
            size = 2 * 2 * kv_heads * 128 * found.batch[:, None] * found.length
            large = size > 20 * (profile.memory.l2 or 5e7)
            assert (found.seconds[large] > size[large] / profile.memory.bandwidth).all()
