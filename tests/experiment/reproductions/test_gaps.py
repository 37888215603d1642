"""Gaps between tokens as reproductions reckon them, against every token's time worked out one by one."""

import numpy as np
import pandas as pd
import pytest
from support.reproductions import FIT, WORLD
from support.worlds import token_times

from simulator.core import PS_PER_S
from simulator.cost.published_fit import AffineFit
from simulator.experiment.reproductions.fastgen import _slowest_average
from simulator.experiment.reproductions.tools.gaps import longest_gap_s
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.workloads import workload
from simulator.experiment.reproductions.tools.world import World, WorldSpec


def served(**scheduler):
    """Return requests of which prompts stall others, and some are preempted."""
    world = WORLD | {"scheduler": scheduler, "kv_tokens": 400, "block_size": 1}
    rng = np.random.default_rng(1)
    drawn = Drawn(rng.integers(1, 100, 60), rng.integers(1, 60, 60))
    times = np.cumsum(rng.exponential(0.05, 60))
    return World(WorldSpec.model_validate(world), AffineFit.model_validate(FIT)).serve(workload(times, drawn))


@pytest.mark.parametrize("name", ["vllm_v0", "vllm", "sarathi_turns", "fastgen"])
def test_the_longest_gap_and_the_slowest_average_of_each_request(name):
    found = served(name=name)
    assert found.preemptions, "without any, gaps between spans go untested"
    times = token_times(found)
    gaps = [np.diff(times[request.index]) / PS_PER_S for request in found.requests]
    assert longest_gap_s(found) == pytest.approx([each.max(initial=0) for each in gaps])
    averages = [pd.Series(each).ewm(span=16).mean().max() if len(each) else 0 for each in gaps]
    assert _slowest_average(found, 16) == pytest.approx(averages)
