"""vLLM, ORCA and S3 against their baselines, at a size that a test can afford: what each claim rests on."""

import pytest

from simulator.experiment.reproductions import orca, s3, vllm
from simulator.experiment.reproductions.tools.reproduce import setup_of


def test_paged_memory_batches_most_and_seven_maxima_fit():
    setup = setup_of("vllm")
    assert isinstance(setup, vllm.VLLMSetup)
    names = ("max", "pow2", "oracle", "oracle_anywhere", "vllm")
    batched = {name: vllm.batches(setup.world(name), setup.lengths, 2.0, 600, 0)[0] for name in names}
    assert sorted(batched, key=lambda name: batched[name]) == list(names)
    # 15,700 slots hold seven sequences of 2,048 tokens, and at this rate more of them always wait.
    assert batched["max"] == pytest.approx(7, rel=0.02)


def test_more_arrives_where_batches_change_at_every_iteration():
    setup = setup_of("orca")
    assert isinstance(setup, orca.OrcaSetup)
    # At 1 request a second ORCA is as good as idle, and request-level batching has long lost.
    medians = {
        name: orca.median_s(setup.world(name), setup.lengths, 1.0, 100, 0) for name in ("orca_8", "ft_1", "ft_8")
    }
    assert medians["orca_8"] < setup.latency_bound / 2
    assert min(medians["ft_1"], medians["ft_8"]) > 3 * setup.latency_bound


def test_a_batch_of_equal_lengths_wastes_less():
    setup = setup_of("orca")
    assert isinstance(setup, orca.OrcaSetup)
    world, bound = setup.world("ft_8"), setup.latency_bound
    mixed = orca.rate_at_bound(world, setup.lengths, bound, 100, 0)
    equal = orca.rate_at_bound(world, setup.equal_lengths["long"], bound, 100, 0)
    # Four times the mean output, and still more requests a second.
    assert equal > 2 * mixed


@pytest.mark.parametrize("longest", [256, 2048])
def test_the_better_the_length_is_known_the_more_is_served(longest):
    setup = setup_of("s3")
    assert isinstance(setup, s3.S3Setup)
    systems = ("orca", "erring", "s3", "exact")
    served = [s3.tokens_per_s(setup.world(f"{name}_{longest}"), setup.lengths, 1000, 0) for name in systems]
    assert served == sorted(served)
