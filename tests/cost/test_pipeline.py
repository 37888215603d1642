"""Layers spread over stages: micro-batches of decodes overlap, one prompt's chunk passes all stages alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import Batch, decode_ps, mixed_ps
from support.gpus import engine, gpu, model

from simulator.core import InputError
from simulator.core.units import PS_PER_S
from simulator.cost.build import build_cost
from simulator.cost.parallelism import Parallelism


def cost(stages, profile=None):
    build = engine().build()
    return build_cost(model(layers=8), profile or gpu(), engine(), build, build.host, Parallelism(pipeline=stages))


def hops(stages, tokens):
    """Picoseconds to hand a token's 1,024 numbers on between stages: 10 us and 100 GB/s."""
    return (stages - 1) * (10e-6 + 2 * 1024 * tokens / 100e9) * PS_PER_S


ONE, FOUR = cost(1), cost(4)


def test_a_request_alone_passes_all_stages_and_the_links_between_them():
    assert decode_ps(FOUR, [500]) - decode_ps(ONE, [500]) == pytest.approx(hops(4, 1), abs=10)


def test_one_prompts_chunk_does_too():
    assert mixed_ps(FOUR, [(0, 2000)]) - mixed_ps(ONE, [(0, 2000)]) == pytest.approx(hops(4, 2000), abs=10)


@pytest.mark.parametrize("batch", [64, 512])
def test_micro_batches_are_in_all_stages_at_once(batch):
    # Between the time of a quarter of the batch and that of all of it: each micro-batch reads all weights.
    whole, quarter = decode_ps(ONE, [8000] * batch), decode_ps(ONE, [8000] * (batch // 4))
    assert quarter < decode_ps(FOUR, [8000] * batch) < whole


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=24), st.integers(0, 300))
def test_a_run_is_its_single_steps(contexts, n):
    first, growth, limit = Batch(contexts).run(FOUR)
    assert growth >= 0
    n = min(n, limit - 1)
    assert Batch(contexts).later(n).run(FOUR)[0] == first + n * growth


def test_coverage_names_the_pipeline():
    assert "pipeline" in FOUR.coverage()["terms"]
    assert "pipeline" not in ONE.coverage()["terms"]


def test_stages_need_a_link_between_them():
    with pytest.raises(InputError, match="pipeline_parallel: made_up has no link"):
        cost(2, gpu(allreduce=None))
