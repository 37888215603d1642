"""What SpotServe's and ExeGPT's reproductions rest on."""

import numpy as np
import pytest

from simulator.cluster.reparallelise import Shape
from simulator.experiment.exegpt import LengthStatistics, request_level
from simulator.experiment.reproductions.exegpt import whole_requests
from simulator.experiment.reproductions.spotserve import availability
from simulator.experiment.reproductions.tools.reproduce import setup_of
from simulator.experiment.spot import batch_seconds


@pytest.mark.parametrize("name", ["opt", "gpt", "llama"])
def test_the_calibrated_constants_meet_the_published_times(name):
    setup = setup_of("spotserve")
    model = setup.models[name]
    found = batch_seconds(setup.cost(model, Shape(*model.shape)), 1, setup.prompt, setup.output)
    assert found == pytest.approx(model.published, rel=1e-3)


@pytest.mark.parametrize("kind", ["ebb", "churn"])
def test_availability_stays_within_its_bounds(kind):
    for seed in range(20):
        initial, changes = availability(kind, np.random.default_rng(seed), 20, [3, 8], 1200.0)
        present, counts = set(range(initial)), [initial]
        for change in changes:
            if change.comes:
                assert change.node not in present
                present.add(change.node)
            else:
                present.remove(change.node)
            counts.append(len(present))
        assert max(counts) == 8
        assert min(counts) >= 3
        assert [change.at for change in changes] == sorted(change.at for change in changes)
        if kind == "ebb":
            assert (min(counts), counts[-1], len(changes)) == (3, 8, 10)


def test_whole_requests_get_the_largest_batch_in_time():
    groups = setup_of("exegpt").instances()
    lengths = LengthStatistics(prompt=100.0, output=40.0, context=120.0, long=80, longest=100, prompt_long=200)
    bound = request_level(groups[0], 4, lengths, 20).latency
    found = whole_requests([groups[0]], 4, lengths, bound)
    assert found.batch == 20
    # Whichever keeps the bound with most throughput.
    best = whole_requests(groups, 4, lengths, bound)
    assert best.expected.throughput >= found.expected.throughput
    assert best.expected.latency <= bound
