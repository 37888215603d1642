"""Choosing a configuration, placing it on devices, and what has to move for it, by hand."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.cluster.reparallelise import Configuration, Option, Placed, Shape, best_configuration, place, traffic

OPTIONS = [Option(Shape(1, 4), 8, 8.0), Option(Shape(1, 4), 1, 5.0), Option(Shape(2, 4), 8, 5.0)]


def always(node: int) -> bool:
    return True


def test_the_shortest_latency_among_those_that_serve_the_rate():
    # Nobody waits at rate 0: the shortest batch, on the fewest GPUs.
    assert best_configuration(OPTIONS, 16, 0.0) == Configuration(1, Shape(1, 4), 1)
    # 0.5 requests/s: one pipeline in single requests makes 0.2, two pipelines 0.4.
    assert best_configuration(OPTIONS, 8, 0.5).batch == 8
    # Two pipelines make 2 requests/s, the one of 8 GPUs makes 1.6 and is faster; bursts wait for throughput:
    # 8 + 18 * 1.5 / 2 = 21.5 s against 5 + 18 * 3 / 1.6 = 38.75 s.
    assert best_configuration(OPTIONS, 8, 1.2, cv=0.0) == Configuration(1, Shape(2, 4), 8)
    assert best_configuration(OPTIONS, 8, 1.2, cv=6.0) == Configuration(2, Shape(1, 4), 8)


def test_without_enough_gpus_the_most_throughput_or_nothing():
    assert best_configuration(OPTIONS, 8, 10.0) == Configuration(2, Shape(1, 4), 8)
    assert best_configuration(OPTIONS, 8, 10.0, most=1) == Configuration(1, Shape(2, 4), 8)
    assert best_configuration(OPTIONS, 3, 0.1) is None


def test_what_is_as_good_takes_the_fewest_gpus():
    options = [Option(Shape(1, 4), 4, 10.0), Option(Shape(2, 4), 4, 9.8)]
    assert best_configuration(options, 8, 0.0).shape == Shape(1, 4)
    assert best_configuration(options, 8, 0.0, tie=0.01).shape == Shape(2, 4)


def test_a_leaving_node_is_replaced_and_nothing_else_moves():
    before = Placed(Configuration(2, Shape(1, 4), 8), tuple(range(8)), 4)
    after = place(Configuration(2, Shape(1, 4), 8), [1, 2], 4, before, 100.0, {(0, 0): 8.0, (1, 1): 8.0})
    assert after.pipeline(1) == before.pipeline(1)
    assert after.nodes == {1, 2}
    moved = traffic(before, after, always, 100.0, {(0, 0): 8.0, (1, 1): 8.0})
    # Weights come from both nodes alike, KV can only come from node 0.
    assert moved.sent == {(0, 2): pytest.approx(58.0), (1, 2): pytest.approx(50.0)}
    assert moved.moved == {(0, 0): pytest.approx(1.0), (1, 1): 0.0}
    # Once node 0 is gone, node 1 has the same weights.
    assert traffic(before, after, lambda node: node != 0, 100.0, {}).sent == {(1, 2): pytest.approx(100.0)}


def test_weights_nobody_holds_come_from_storage():
    after = place(Configuration(1, Shape(2, 2), 8), [0], 4, None, 100.0, {})
    assert traffic(None, after, always, 100.0, {}).sent == {(None, 0): pytest.approx(100.0)}


def test_two_stages_become_four_tensor_ranks_in_place():
    # Each GPU keeps the quarter of its half that both layouts give it, and fetches a quarter of a half from the other.
    before = Placed(Configuration(1, Shape(2, 2), 8), (0, 1, 2, 3), 4)
    after = place(Configuration(1, Shape(1, 4), 8), [0], 4, before, 64.0, {(0, 0): 16.0})
    moved = traffic(before, after, always, 64.0, {(0, 0): 16.0})
    # Half of everything stands where it has to be.
    assert moved.sent == {(0, 0): pytest.approx(32.0 + 8.0)}
    assert moved.moved[0, 0] == pytest.approx(0.5)


_SHAPES = st.sampled_from([Shape(1, 4), Shape(2, 2), Shape(4, 1), Shape(1, 2), Shape(3, 1)])


@given(_SHAPES, _SHAPES, st.integers(1, 2), st.permutations(range(4)))
def test_what_moves_and_what_stays_add_up(old, new, pipelines, gpus):
    before = Placed(Configuration(1, old, 1), tuple(gpus[: old.gpus]), 4)
    target = Configuration(pipelines, new, 1)
    after = place(target, [0, 1, 2], 4, before, 1200.0, {(0, 0): 120.0})
    assert len(set(after.gpus)) == target.gpus
    moved = traffic(before, after, always, 1200.0, {(0, 0): 120.0})
    stays = _kept_bytes(before, after, 1200.0)
    kv = 120.0 * moved.moved[0, 0]
    assert sum(moved.sent.values()) == pytest.approx(1200.0 * pipelines - stays + kv)
    assert kv == pytest.approx(120.0 - _kept_bytes(before, after, 120.0, only=0))


@given(_SHAPES, _SHAPES, st.permutations(range(4)))
def test_no_other_mapping_within_a_node_keeps_more(old, new, gpus):
    before = Placed(Configuration(1, old, 1), tuple(gpus[: old.gpus]), 4)
    after = place(Configuration(1, new, 1), [0], 4, before, 1.0, {})
    most = max(
        _kept_bytes(before, Placed(after.configuration, chosen, 4), 1.0) for chosen in permutations(range(4), new.gpus)
    )
    assert _kept_bytes(before, after, 1.0) == pytest.approx(most)


def _kept_bytes(before: Placed, after: Placed, size: float, only: int | None = None) -> float:
    """Return the bytes that are on the right GPUs already, counted on a grid of 12 by 12 parts."""

    def parts(placed: Placed) -> dict[int, set[tuple[int, int]]]:
        _, (stages, tensor), _ = placed.configuration
        return {
            gpu: {
                (layer, rank)
                for layer in range(12)
                for rank in range(12)
                if layer * stages // 12 == at // tensor % stages and rank * tensor // 12 == at % tensor
            }
            for at, gpu in enumerate(placed.gpus)
            if only is None or at // (stages * tensor) == only
        }

    held, needed = parts(before), parts(after)
    return size / 144 * sum(len(held.get(gpu, set()) & cells) for gpu, cells in needed.items())


def test_batches_go_where_their_kv_is():
    before = Placed(Configuration(2, Shape(1, 2), 8), (0, 1, 2, 3), 2)
    # Pipeline 1 goes on as 0, with much KV; weights are the same on both nodes.
    after = place(Configuration(1, Shape(1, 2), 8), [0, 1], 2, before, 10.0, {(1, 0): 100.0})
    assert after.gpus == (2, 3)
    assert np.isclose(sum(traffic(before, after, always, 10.0, {(1, 0): 100.0}).sent.values()), 0.0)
