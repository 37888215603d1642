"""Matrix products: the table at its knots, teeth kept, work beyond its edges, a roofline where it has nothing."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.gpus import LIBRARY, gemm, gpu, grid, paper_roofline

from simulator.cost.linear import LinearTimes
from simulator.hardware.profile import Roofline
from simulator.hardware.registry import load_profile
from simulator.model import Linear

SQUARE = Linear("square", 1024, 1024)


def product(n, k, m):
    return 1e-6 + 1e-14 * n * k * (m + 10)


def seconds(times, linear, *tokens, captured=0):
    return times.seconds(linear, np.array(tokens, np.float64), captured).tolist()


def test_knots_are_read_exactly():
    times = LinearTimes(gpu([gemm(product)]), LIBRARY)
    assert seconds(times, SQUARE, 1, 64, 4096) == pytest.approx(
        [product(1024, 1024, m) for m in (1, 64, 4096)], rel=1e-12
    )
    assert times.notes == {"linear square bfloat16": f"measured ({LIBRARY})"}


def test_between_knots_tokens_are_a_line_and_widths_a_power_law():
    times = LinearTimes(gpu([gemm(lambda n, k, m: 1e-15 * n * k * m)]), LIBRARY)
    assert seconds(times, SQUARE, 32.5) == pytest.approx([1e-15 * 1024 * 1024 * 32.5])
    assert seconds(times, Linear("odd", 300, 5000), 64) == pytest.approx([1e-15 * 300 * 5000 * 64])


def test_the_teeth_of_fp8_kernels_stay():
    # A tile more at 129 tokens: time jumps, then falls to the next multiple.
    teeth = {64: 10e-6, 128: 12e-6, 129: 22e-6, 256: 17e-6, 257: 28e-6, 512: 25e-6}
    table = gemm(lambda n, k, m: np.vectorize(teeth.__getitem__)(m), m=list(teeth), dtype="fp8")
    times = LinearTimes(gpu([table]), LIBRARY)
    square = Linear("square", 1024, 1024, "fp8")
    assert seconds(times, square, *teeth) == pytest.approx(list(teeth.values()))
    before, after, next_multiple = seconds(times, square, 128, 130, 250)
    assert before < next_multiple < after


def test_an_fp8_product_slower_than_one_of_more_tokens_in_its_tile_was_not_timed_well():
    # As on Blackwell: 15 us more for one token, and at random; the tooth at 129 tokens is none of these.
    measured = {1: 27e-6, 2: 12e-6, 16: 13e-6, 64: 34e-6, 80: 14e-6, 128: 15e-6, 129: 40e-6, 256: 18e-6}
    table = gemm(lambda n, k, m: np.vectorize(measured.__getitem__)(m), m=list(measured), dtype="fp8")
    times = LinearTimes(gpu([table]), LIBRARY)
    square = Linear("square", 1024, 1024, "fp8")
    smooth = measured | {1: 12e-6, 64: 14e-6}
    assert seconds(times, square, *smooth) == pytest.approx(list(smooth.values()))
    assert times.notes["linear square fp8"] == f"measured ({LIBRARY}), slow outliers as products of more tokens"


@given(st.integers(4097, 100_000), st.integers(65_537, 300_000))
def test_beyond_the_table_time_goes_with_the_work(tokens, width):
    times = LinearTimes(gpu([gemm(product)]), LIBRARY)
    edge = product(1024, 1024, 4096)
    assert seconds(times, SQUARE, tokens) == pytest.approx([edge * tokens / 4096])
    assert times.most_tokens == 4096
    wide = product(65_536, 1024, 64)
    assert seconds(times, Linear("head", 1024, width), 64) == pytest.approx([wide * width / 65_536])
    assert seconds(times, Linear("deep", width, 1024), 64) == pytest.approx([wide * width / 65_536])


def test_a_type_without_a_table_has_its_own_roofline_or_the_16_bit_one_at_its_gain():
    flops, numbers = 2 * 64 * 1024 * 1024, 1024 * 1024
    measured = {
        "fp8": {"launch": "5us", "compute": "50TFLOP/s", "bandwidth": "1TB/s", "blend": 1, "error": 0, "samples": 1}
    }
    own = LinearTimes(gpu(rooflines=measured), LIBRARY)
    moved = 64 * 1024 + 2 * 64 * 1024 + numbers
    fp8 = Linear("square", 1024, 1024, "fp8")
    assert seconds(own, fp8, 64) == pytest.approx([5e-6 + flops / 50e12 + moved / 1e12])
    assert seconds(LinearTimes(gpu(), None), fp8, 64) == pytest.approx([paper_roofline(flops / 2, moved)])
    # Four-bit weights are multiplied in 16 bit: fewer bytes, no faster arithmetic.
    w4a16 = Linear("square", 1024, 1024, "w4a16")
    moved = 2 * 64 * 1024 + 2 * 64 * 1024 + numbers * (0.5 + 2.5 / 128)
    assert seconds(LinearTimes(gpu(), None), w4a16, 64) == pytest.approx([paper_roofline(flops, moved)])
    assert own.notes == {"linear square fp8": "roofline"}


def test_a_gpu_without_units_for_a_type_multiplies_in_16_bit():
    square, flops = Linear("square", 1024, 1024, "fp8"), 2 * 64 * 1024**2
    old = LinearTimes(gpu(peak={"bfloat16": "300TFLOP/s", "int8": "600TFLOP/s"}), None)
    wide = 2 * 64 * 1024 * 2 + square.weight_bytes
    assert seconds(old, square, 64) == pytest.approx([paper_roofline(flops, wide)])
    assert old.notes == {"linear square fp8": "roofline (fp8 weights, 16-bit products)"}
    new = LinearTimes(gpu(peak={"bfloat16": "300TFLOP/s", "fp8": "450TFLOP/s"}), None)
    narrow = 64 * 1024 * 3 + square.weight_bytes
    assert seconds(new, square, 64) == pytest.approx([paper_roofline(flops / 1.5, narrow)])


def test_holes_have_the_roofline_and_the_notes_say_so():
    holed = gemm(lambda n, k, m: np.where((m == 4096) & (n == 65_536), np.nan, product(n, k, m)))
    times = LinearTimes(gpu([holed]), LIBRARY)
    wide = Linear("head", 1024, 65_536)
    first, second = seconds(times, wide, 64, 2000)
    assert first == pytest.approx(product(65_536, 1024, 64))
    moved = 2 * (2000 * 1024 + 2000 * 65_536 + 1024 * 65_536)
    assert second == pytest.approx(paper_roofline(2 * 2000 * 1024 * 65_536, moved))
    assert times.notes["linear head bfloat16"] == f"{LIBRARY}, roofline where it has holes"


def test_a_replayed_graph_hides_the_launch_that_block_wise_kernels_were_timed_with():
    launched = gemm(lambda n, k, m: 60e-6 + 0 * m, dtype="fp8_block")
    fused = gemm(lambda n, k, m: 8e-6 + 0 * m, dtype="fp8_block", library="trtllm-1.0")
    times = LinearTimes(gpu([launched, fused]), LIBRARY, [LIBRARY, "trtllm-1.0"])
    block = Linear("square", 1024, 1024, "fp8_block")
    assert seconds(times, block, 64, 512, 513, captured=512) == pytest.approx([8e-6, 8e-6, 60e-6])
    assert seconds(times, block, 64) == pytest.approx([60e-6])
    holed = gemm(lambda n, k, m: np.nan * m, dtype="fp8_block", library="trtllm-1.0")
    alone = LinearTimes(gpu([launched, holed]), LIBRARY, [LIBRARY, "trtllm-1.0"])
    assert seconds(alone, block, 64, captured=512) == pytest.approx([60e-6]), "a hole is not faster"


def test_where_one_library_was_measured_products_by_tensor_tell_what_block_wise_ones_take_in_a_graph():
    launched = gemm(lambda n, k, m: 300e-6 + 0 * m, dtype="fp8_block")
    by_tensor = gemm(lambda n, k, m: 9e-6 + 0 * m, dtype="fp8")
    times = LinearTimes(gpu([launched, by_tensor]), LIBRARY, [LIBRARY])
    block = Linear("square", 1024, 1024, "fp8_block")
    assert seconds(times, block, 64, 513, captured=512) == pytest.approx([9e-6, 300e-6])
    assert times.notes["linear square fp8_block"] == f"measured ({LIBRARY}); in replayed graphs as by tensor"
    alone = LinearTimes(gpu([launched]), LIBRARY, [LIBRARY])
    assert seconds(alone, block, 64, captured=512) == pytest.approx([300e-6])


@pytest.mark.parametrize(("library", "spent"), [("trtllm-1.0", 7e-6), ("vllm-1.0", 0.0)])
def test_tensorrt_llms_fp8_products_were_timed_with_the_scaling_that_checkpoints_bring_along(library, spent):
    axes = (("k", (32, 65_536), "log"), ("m", (1, 4096), "linear"))
    scaling = grid("quantize", axes, lambda k, m: 7e-6 + 0 * m, library=library, dtype="fp8")
    tables = [gemm(lambda n, k, m: 20e-6 + 0 * m, dtype=dtype, library=library) for dtype in ("fp8", "bfloat16")]
    times = LinearTimes(gpu([*tables, scaling]), library)
    assert seconds(times, SQUARE._replace(dtype="fp8"), 64) == pytest.approx([20e-6 - spent])
    assert seconds(times, SQUARE, 64) == pytest.approx([20e-6]), "16-bit products scale nothing"


@pytest.mark.parametrize("hardware", ["h100_sxm", "h200_sxm"])
def test_measured_tensorrt_llm_products_still_take_time_without_it(hardware):
    times = LinearTimes(load_profile(hardware), "trtllm-1.3.0rc20")
    for inputs in (32, 1024, 8192, 65_536):
        for outputs in (32, 1024, 28_672):
            spent = seconds(times, Linear("any", inputs, outputs, "fp8"), 1, 64, 2048, 32_768, 60_000)
            assert min(spent) > 1e-6


@pytest.mark.parametrize("hardware", ["h100_sxm", "h200_sxm"])
def test_measured_fp8_on_hopper_jumps_where_a_tile_overflows(hardware):
    # fidelity: decode speeds jump between 16 and 32 requests because of it.
    times = LinearTimes(load_profile(hardware), "vllm-0.24.0")
    down = Linear("down", 8192, 10_240, "fp8")
    full, over, next_full = seconds(times, down, 128, 129, 256)
    assert over > 1.3 * full
    assert next_full < over


@pytest.mark.parametrize("hardware", ["a100_sxm", "h100_sxm", "h200_sxm", "l40s", "rtx_pro_6000"])
def test_measured_products_are_no_faster_than_the_hardware(hardware):
    profile = load_profile(hardware)
    assert isinstance(profile.gemm, Roofline)
    library = max(name for name in profile.tables.libraries() if profile.tables.measured(name, "gemm"))
    for linear in (Linear("up", 4096, 28_672), Linear("down", 14_336, 4096), Linear("square", 8192, 8192)):
        tokens = np.array([1.0, 16, 64, 256, 1024, 4096, 8192])
        spent = LinearTimes(profile, library).seconds(linear, tokens)
        least = np.maximum(2 * tokens * linear.weights / profile.peak["bfloat16"], 0)
        assert (spent > least).all()
        if linear.weight_bytes > 2 * (profile.memory.l2 or 0):
            assert (spent > linear.weight_bytes / profile.memory.bandwidth).all()
