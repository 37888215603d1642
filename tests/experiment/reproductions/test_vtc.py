"""What the reproduction of VTC calls service, and the gap that first come first served makes of it."""

import pytest

from simulator.experiment.reproductions.tools.reproduce import setup_of
from simulator.experiment.reproductions.vtc import Service, serve


def served(name, requests=900, seed=None):
    setup = setup_of("vtc")
    return Service(*serve(setup.world(name), tuple(setup.rates), setup.tokens, requests, seed))


def test_service_is_what_completed_requests_are_worth_once_all_are_done():
    setup = setup_of("vtc")
    # So few that they end while the last arrive: 3 tokens' worth for prompt and output token together.
    found = Service(*serve(setup.world("vtc"), (0.05, 0.1), setup.tokens, 30, None))
    assert found.first[-1] + found.second[-1] == pytest.approx(30 * 3 * 256, rel=0.1)
    assert found.throughput == pytest.approx(0.15, rel=0.1)


def test_the_gap_grows_only_without_the_counter():
    fcfs, vtc = served("fcfs"), served("vtc")
    assert fcfs.gap[-1] == pytest.approx(fcfs.throughput * fcfs.times[-1] * 256, rel=0.1)
    assert vtc.gap.max() < fcfs.gap.max() / 2
    assert vtc.throughput == pytest.approx(fcfs.throughput, rel=0.05)


def test_seeds_change_poisson_arrivals():
    assert served("fcfs", 90, 0).gap.tolist() != served("fcfs", 90, 1).gap.tolist()
