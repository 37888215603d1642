"""What the reproduction of LightLLM measures of each way of admission."""

from simulator.experiment.reproductions.lightllm import figures
from simulator.experiment.reproductions.tools.reproduce import setup_of


def test_filling_memory_evicts_and_reserving_never_does():
    setup = setup_of("lightllm")

    def found(name, clients):
        return figures(setup.world(name), clients, 120, setup.lengths, setup.ttft, setup.gap, 0, None)

    assert found("aggressive", 100)[2] > 0.2
    assert found("conservative", 100)[2] == 0
    # With few clients there is room for all, and all are within the limits.
    good, smooth, evicted = found("past_future", 10)
    assert good == smooth > 0
    assert evicted == 0
