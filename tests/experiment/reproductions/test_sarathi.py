"""Capacities as the reproduction of Sarathi-Serve finds them."""

from simulator.experiment.reproductions.sarathi import capacity_of
from simulator.experiment.reproductions.tools.reproduce import setup_of


def test_a_stricter_limit_costs_whole_prompts_more_than_chunks():
    setup = setup_of("sarathi")

    def capacity(world, tbt):
        return capacity_of(setup.world(world), setup.lengths, setup.lengths_seed, 160, tbt, 2.0, 0.1, 0, None)

    chunks, whole = (capacity(world, 0.2) for world in ("both", "vllm"))
    assert chunks > 1.5 * whole
    assert capacity("vllm", 1.0) > whole
