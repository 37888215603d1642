"""A world serves requests at its published costs; its figures are those a person reckons by hand."""

import numpy as np
import pytest
from support.reproductions import FIT, WORLD

from simulator.core import InputError
from simulator.cost.published_fit import AffineFit
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import World, WorldSpec


def serve(arrivals, prompts, outputs, **changes):
    world = World(WorldSpec.model_validate(WORLD | changes), AffineFit.model_validate(FIT))
    drawn = Drawn(np.array(prompts), np.array(outputs))
    return world.serve(workload(np.array(arrivals, float), drawn))


def test_latencies_of_one_request_alone():
    served = serve([1.0], [100], [11])
    assert served.ttft_s == pytest.approx([0.020])
    assert served.tpot_s == pytest.approx([0.010])
    assert served.e2e_s == pytest.approx([0.120])
    assert served.normalised_s == pytest.approx([0.120 / 11])
    assert served.gap_s(50) == pytest.approx(0.010)
    assert served.duration_s == pytest.approx(0.120)
    assert served.throughput == pytest.approx(1 / 0.120)


def test_attainment_asks_for_both_limits():
    # The second waits behind the first, one at a time.
    served = serve([0.0, 0.0], [100, 100], [11, 11], scheduler={"name": "vllm", "max_num_seqs": 1})
    assert served.waiting_s == pytest.approx([0, 0.120])
    assert served.attainment(ttft_s=0.03) == 0.5
    assert served.attainment(tpot_s=0.01001) == 1
    assert served.attainment(ttft_s=0.03, tpot_s=0.009) == 0


def test_the_mean_batch_counts_while_requests_arrive():
    # One request decodes from 0 to 0.12 s; the second arrives at 0.24 s: half of the time a batch of one.
    assert serve([0.0, 0.24], [100, 100], [11, 11]).mean_batch() == pytest.approx(0.5)
    # Two instances, each with one of both requests all the time up to the last arrival.
    both = serve([0.0, 0.0, 0.06], [100] * 3, [11] * 3, instances=2)
    assert both.mean_batch() == pytest.approx(1.0)


def test_memory_is_counted_in_whole_blocks():
    # 7 blocks of 16 hold one sequence of 110 tokens but not two.
    served = serve([0.0, 0.0], [99, 99], [11, 11], kv_tokens=115)
    assert served.waiting_s[1] > 0.1
    assert serve([0.0, 0.0], [99, 99], [11, 11]).waiting_s[1] == 0


def test_requests_that_cannot_be_served_are_no_silent_loss():
    with pytest.raises(InputError, match=r"is failed: .* exceed the context limit"):
        serve([0.0], [5000], [11])
