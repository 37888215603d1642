"""An iteration is the GPU's work and the engine's host together: every constant where it says, to the picosecond."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.batches import Batch, chunks, decode_ps, mixed_ps
from support.gpus import LIBRARY, decode_attention, engine, gemm, gpu, host, model, prompt_attention

from simulator.core.units import PS_PER_S
from simulator.cost.build import build_cost, in_blocks, layer_costs
from simulator.cost.iteration import IterationCost, LayerCosts, padded
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.cost.terms import Seen
from simulator.model import Experts, Precision

GPU = gpu(
    [
        gemm(lambda n, k, m: 1e-6 + 1e-15 * n * k * m),
        decode_attention(lambda b, c: 5e-6 + 2e-9 * b * c),
        prompt_attention(lambda b, s: 3e-6 + 1e-10 * b * s**2, new=2.0 ** np.arange(4, 13)),
    ]
)
TERMS = KernelTerms(model(), GPU, Parallelism(), LIBRARY)
BARE = IterationCost(TERMS, host(), 0, {})
EXPERTS = Experts(count=8, top_k=2, ffn=512, gated=True)


def ps(seconds):
    return pytest.approx(seconds * PS_PER_S, abs=3)


def dense(tokens):
    return float(TERMS.dense(np.array([float(tokens)]))[0])


def sample(requests):
    return float(TERMS.sample(np.array([float(requests)]))[0])


def attention(pieces):
    return TERMS.prompts(chunks(pieces), sum(new for _, new in pieces), 0, 0.0, 0.0)


def test_a_decode_is_dense_work_sampling_and_attention():
    alone = 2 * (5e-6 + 2e-9 * 16 * 1000)
    assert decode_ps(BARE, [1000] * 16) == ps(dense(16) + sample(16) + alone)


def test_a_mixed_iteration_computes_all_tokens_at_once_and_samples_every_request():
    pieces, contexts = [(0, 300), (512, 200)], [1000] * 16
    expected = dense(516) + sample(18) + attention(pieces) + 2 * (5e-6 + 2e-9 * 16_000)
    assert mixed_ps(BARE, pieces, contexts) == ps(expected)
    assert mixed_ps(BARE, pieces) == ps(dense(500) + sample(2) + attention(pieces))


def test_the_host_adds_to_every_iteration_and_for_every_request():
    slow = IterationCost(TERMS, host(iteration="700us", sequence="50us"), 0, {})
    assert decode_ps(slow, [100] * 9) - decode_ps(BARE, [100] * 9) == ps(700e-6 + 9 * 50e-6)
    assert mixed_ps(slow, [(0, 64)], [100] * 9) - mixed_ps(BARE, [(0, 64)], [100] * 9) == ps(700e-6 + 10 * 50e-6)


def test_kernels_are_scaled_with_and_without_chunks_and_sampling_is_not():
    scaled = IterationCost(TERMS, host(prefill=1.25, decode=0.8), 0, {})
    alone = 2 * (5e-6 + 2e-9 * 900)
    assert decode_ps(scaled, [100] * 9) == pytest.approx((0.8 * (dense(9) + alone) + sample(9)) * PS_PER_S, rel=1e-6)
    expected = 1.25 * (dense(64) + attention([(0, 64)])) + sample(1)
    assert mixed_ps(scaled, [(0, 64)]) == ps(expected)


def test_prompts_slow_down_what_replays_no_graph():
    scaled = IterationCost(TERMS, host(prefill=1.25, decode=0.8), 128, {})
    short, long = dense(64), 1.25 * dense(200)
    assert mixed_ps(scaled, [(0, 64)]) == ps(short + attention([(0, 64)]) + sample(1))
    assert mixed_ps(scaled, [(0, 200)]) == ps(long + 1.25 * attention([(0, 200)]) + sample(1))


def test_a_floor_holds_for_mixed_iterations_too():
    floored = IterationCost(TERMS, host(floor_iteration="5ms", floor_sequence="100us"), 0, {})
    assert mixed_ps(floored, [(0, 64)], [100] * 9) == 6 * PS_PER_S // 1000
    assert mixed_ps(floored, [(0, 20_000)]) == mixed_ps(BARE, [(0, 20_000)]) > 5 * PS_PER_S // 1000


def test_layers_cost_the_host_always_or_when_no_graph_is_replayed():
    layers = LayerCosts(always=1e-3, launched=4e-3)
    made, bare = (IterationCost(TERMS, host(), 512, {}, each) for each in (layers, LayerCosts()))

    def added(ask, *asked):
        return ask(made, *asked) - ask(bare, *asked)

    assert added(decode_ps, [100] * 9) == ps(1e-3)
    assert added(decode_ps, [1] * 513) == ps(1e-3 + 4e-3)
    assert added(mixed_ps, [(0, 500)], [1] * 12) == ps(1e-3)
    assert added(mixed_ps, [(0, 500)], [1] * 13) == ps(1e-3 + 4e-3)


def test_an_iteration_without_a_graph_takes_at_least_what_launching_it_does():
    least_ps = PS_PER_S // 1000
    made, bare = (IterationCost(TERMS, host(), 512, {}, LayerCosts(least=each)) for each in (1e-3, 0.0))
    assert mixed_ps(made, [(0, 500)]) == mixed_ps(bare, [(0, 500)]) < least_ps, "a graph is replayed"
    assert mixed_ps(bare, [(0, 513)]) < least_ps == mixed_ps(made, [(0, 513)])
    assert mixed_ps(bare, [(0, 500)], [1] * 13) < least_ps == mixed_ps(made, [(0, 500)], [1] * 13)
    assert mixed_ps(made, [(0, 8000)]) == mixed_ps(bare, [(0, 8000)]) > least_ps, "the kernels take longer"
    assert decode_ps(made, [1] * 512) == decode_ps(bare, [1] * 512)
    assert decode_ps(bare, [1] * 513) < least_ps == decode_ps(made, [1] * 513)


def test_which_layers_those_are():
    spent = host(launch_layer="1us", launch_experts="1ms", expert_layer="1us", block_layer="10us", block_chunk="100us")
    blocks = Precision(experts="fp8_block", attention="fp8_block", linear="fp8_block")

    def costs(known):
        return pytest.approx(tuple(layer_costs(known, spent)))

    assert costs(model()) == (0, 0, 2e-6)
    assert costs(model(experts=EXPERTS)) == (2e-6, 0, 2.002e-3)
    assert costs(model(precision=blocks)) == (20e-6, 200e-6, 2e-6)
    assert costs(model(experts=EXPERTS, precision=blocks, layers=3)) == (33e-6, 300e-6, 3.003e-3)
    only = Precision(experts="fp8_block")
    assert not in_blocks(model(precision=only), model().kinds[0]), "a dense layer has no experts"
    mixed = model(experts=EXPERTS, precision=only)
    assert in_blocks(mixed, mixed.kinds[0])


def test_the_sizes_that_graphs_are_captured_at():
    tokens = np.array([1.0, 2, 3, 5, 8, 9, 255, 256, 257, 272, 273, 500, 512, 513, 8000])
    wanted = [1, 2, 4, 8, 8, 16, 256, 256, 272, 272, 288, 512, 512, 513, 8000]
    assert padded(tokens, 512).tolist() == wanted
    assert padded(tokens, 0).tolist() == tokens.tolist()
    assert padded(np.array([5.0, 6, 7]), 6).tolist() == [5, 6, 7], "beyond the largest captured nothing is padded"


def test_dense_work_is_done_for_the_padded_batch():
    made = IterationCost(TERMS, host(), 512, {})
    assert decode_ps(made, [100] * 9) == ps(dense(16) + sample(9) + 2 * (5e-6 + 2e-9 * 900))
    assert mixed_ps(made, [(0, 500)]) == ps(dense(512) + sample(1) + attention([(0, 500)]))


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=64), st.integers(1, 5000))
def test_more_context_and_more_requests_take_longer(contexts, more):
    now = decode_ps(BARE, contexts)
    assert decode_ps(BARE, [contexts[0] + len(contexts) * more, *contexts[1:]]) > now
    assert decode_ps(BARE, [*contexts, more]) > now


@given(st.integers(0, 8000), st.integers(1, 8000), st.integers(1, 4000), st.integers(1, 9000))
def test_longer_prompts_and_company_take_longer(cached, new, more, context):
    now = mixed_ps(BARE, [(cached, new)])
    assert mixed_ps(BARE, [(cached, new + more)]) > now
    assert mixed_ps(BARE, [(cached, new), (0, more)]) > 0.995 * now
    assert mixed_ps(BARE, [(cached, new)], [context]) > now
    # Cached tokens cost attention alone, which is a power law between its knots: right to half a percent of the whole.
    assert mixed_ps(BARE, [(cached + more, new)]) > 0.995 * now


def test_tables_grow_with_what_is_asked_and_what_was_asked_before_changes_nothing():
    fresh, used = (IterationCost(TERMS, host(sequence="1us"), 512, {}) for _ in range(2))
    assert mixed_ps(used, [(0, 100_000)]) > 0
    assert decode_ps(used, [7] * 5000) > 0
    for contexts in ([5], [100] * 77, [9] * 5000):
        assert Batch(contexts).run(fresh) == Batch(contexts).run(used)
    assert mixed_ps(fresh, [(0, 3000)], [9] * 8) == mixed_ps(used, [(0, 3000)], [9] * 8)


def test_coverage_says_what_terms_rest_on_and_where_a_run_went_beyond():
    build = engine().build()
    cost = build_cost(model(), GPU, engine(), build, build.host, Parallelism())
    found = cost.coverage(Seen(tokens=4096, requests=256, context=4096))
    assert found["beyond"] == []
    assert found["terms"]["linear mlp_up bfloat16"] == f"measured ({LIBRARY})"
    assert found["terms"]["decode attention"] == f"measured ({LIBRARY})"
    assert found["provenance"] == {"hardware gemm": "made up", "engine made_up only host": "made up"}
    assert cost.coverage(Seen(tokens=5000, requests=300, context=20_000))["beyond"] == [
        "decode attention: batch up to 300, measured to 256",
        "decode attention: context up to 20000, measured to 10000",
        "prompt attention: prompt up to 20000, measured to 4096",
        "matrix products: tokens up to 5000, measured to 4096",
    ]
    assert "beyond" not in cost.coverage()


def test_a_window_is_never_left_beyond_its_table():
    made = KernelTerms(model(window=512), GPU, Parallelism(), LIBRARY)
    assert made.beyond(Seen(tokens=1, requests=1, context=1_000_000)) == []
