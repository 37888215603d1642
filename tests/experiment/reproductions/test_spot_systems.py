"""What SpotServe's and ExeGPT's reproductions rest on."""

import pytest

from simulator.cluster.reparallelise import Shape, best_configuration
from simulator.cluster.spot import Change
from simulator.core import PS_PER_S, to_ps
from simulator.experiment.exegpt import LengthStatistics, request_level
from simulator.experiment.reproductions.exegpt import whole_requests
from simulator.experiment.reproductions.spotserve import Variant
from simulator.experiment.reproductions.tools.reproduce import setup_of
from simulator.experiment.spot import batch_seconds


@pytest.mark.parametrize("name", ["opt", "gpt", "llama"])
def test_the_artifacts_profile_meets_the_published_times(name):
    setup = setup_of("spotserve")
    model = setup.models[name]
    cost = setup.cost(model, Shape(*model.shape))
    step = cost.decode_run(1, 600, None)[0] / PS_PER_S
    # The paper counts a step for each output token, and the prompt; here the prompt makes the first token.
    found = batch_seconds(cost, 1, setup.prompt, setup.output) + step
    assert found == pytest.approx(model.published, rel=1e-3)


def test_a_prompt_phase_takes_its_best_micro_batches():
    setup = setup_of("spotserve")
    model = setup.models["llama"]
    layer = next(each for each in model.profile if each.tensor == 8)
    of_one, of_two, of_four = layer.prompt.root.values()
    cost, estimate = (setup.cost(model, Shape(2, 8), estimated=estimated) for estimated in (False, True))
    # 2 stages of 24 layers: 4 prompts in 1, 2 or 4 micro-batches.
    taken = min(2 * 24 * of_four + 0.008, 3 * 24 * of_two + 0.004, 5 * 24 * of_one + 0.002)
    assert batch_seconds(cost, 4, 512, 1) == pytest.approx(1.1 * taken)
    assert batch_seconds(estimate, 4, 512, 1) == pytest.approx(1.1 * (5 * 24 * of_one / 4 + 0.002))


def test_the_optimizer_chooses_what_the_paper_names():
    setup = setup_of("spotserve")
    model = setup.models["gpt"]

    def chosen(nodes):
        found = best_configuration(setup.options(model), nodes * 4, model.required, setup.spread(model), tie=0.0)
        return found.pipelines, found.shape

    # Section 6.2: (D = 2, P = 2, M = 8) with 8 instances and more, (D = 2, P = 3, M = 4) with one less.
    assert chosen(8) == chosen(10) == (2, Shape(2, 8))
    assert chosen(7) == (2, Shape(3, 4))


def test_reroutings_fixed_pipeline_of_the_largest_model_needs_eight_nodes():
    setup = setup_of("spotserve")
    front = setup.front("rerouting", setup.models["llama"], setup.availability["B_S"], Variant())
    assert front.shape == Shape(4, 8)


def test_availability_is_replayed_with_notice():
    setup = setup_of("spotserve")
    counts = {"A_S": [7, 8, 9, 10, 9, 10, 9, 8], "B_S": [10, 9, 8, 7, 8, 9]}
    for name, expected in counts.items():
        trace = setup.availability[name]
        changes = trace.replay(setup.grace)
        found = [trace.nodes]
        for change in changes:
            found.append(found[-1] + (1 if change.comes else -1))
        assert found == expected
        assert changes == sorted(changes)
    first = setup.availability["B_S"].replay(setup.grace)[0]
    assert first == Change(to_ps(90.0), 4, comes=False)


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
