"""What predictors of output lengths promise: how wrong they are, and that they are always wrong in the same way."""

import numpy as np
import pytest
from scipy.stats import kendalltau

from simulator.core import InputError, Request
from simulator.scheduling.predictors import Rank, make_predictor, noise_for, tau_of


def request(index, output, prompt=10, client=-1):
    return Request(index, 0, prompt, output, client=client)


def lognormal(count, spread=0.8):
    lengths = np.random.default_rng(1).lognormal(5, spread, count)
    return [request(index, max(int(length), 1)) for index, length in enumerate(lengths)]


def predictions(choice, requests):
    predictor = make_predictor(choice)
    return np.array([predictor.predict(each) for each in requests])


def test_the_oracle_knows():
    assert make_predictor("oracle").predict(request(0, 123)) == 123


@pytest.mark.parametrize(
    "choice",
    [
        {"kind": "noisy", "sigma": 0.5},
        {"kind": "bucketed", "accuracy": 0.5},
        {"kind": "rank", "tau": 0.5, "spread": 0.8},
    ],
)
def test_what_is_said_of_a_request_hangs_on_its_index_and_the_seed_alone(choice):
    requests = lognormal(200)
    said = predictions(choice, requests)
    assert (predictions(choice, requests[::-1])[::-1] == said).all()
    assert (predictions({**choice, "seed": 1}, requests) != said).any()


def test_noise_has_the_deviation_asked_for_and_no_bias():
    requests = lognormal(20_000)
    errors = np.log(predictions({"kind": "noisy", "sigma": 0.4}, requests) / [each.output_tokens for each in requests])
    assert errors.std() == pytest.approx(0.4, rel=0.03)
    assert errors.mean() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("tau", [0.2, 0.5, 0.8, 1.0])
def test_a_ranker_reaches_its_tau_on_lognormal_outputs(tau):
    requests = lognormal(5000)
    said = predictions({"kind": "rank", "tau": tau, "spread": 0.8}, requests)
    assert kendalltau(said, [each.output_tokens for each in requests]).statistic == pytest.approx(tau, abs=0.02)
    assert tau_of(noise_for(tau, 0.8), 0.8) == pytest.approx(tau)


@pytest.mark.parametrize("accuracy", [0.0, 0.3, 1.0])
def test_buckets_are_right_as_often_as_stated_else_the_neighbour(accuracy):
    requests = lognormal(5000)
    said = predictions({"kind": "bucketed", "width": 100, "accuracy": accuracy, "says": "upper"}, requests)
    off = said / 100 - 1 - np.array([(each.output_tokens - 1) // 100 for each in requests])
    assert set(off) <= {-1, 0, 1}
    assert (off == 0).mean() == pytest.approx(accuracy, abs=0.02)
    wrong_inside = off[(off != 0) & np.array([each.output_tokens > 100 for each in requests])]
    assert not len(wrong_inside) or (wrong_inside == 1).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("output", "lower", "middle", "upper"), [(1, 0, 5, 10), (11, 10, 30, 50), (500, 50, 75, 100)])
def test_edges_bound_buckets_and_longer_outputs_count_to_the_last(output, lower, middle, upper):
    said = [
        make_predictor({"kind": "bucketed", "edges": [10, 50, 100], "accuracy": 1.0, "says": says}).predict(
            request(0, output)
        )
        for says in ("lower", "middle", "upper")
    ]
    assert said == [lower, middle, upper]


def test_a_single_bucket_is_always_right():
    assert (
        predictions({"kind": "bucketed", "edges": [100], "accuracy": 0.0, "says": "upper"}, lognormal(50)).max() == 100
    )


def test_history_is_the_mean_of_what_ended_and_outlasts_what_is_made():
    predictor = make_predictor({"kind": "history", "window": 3, "prior": 7})
    assert predictor.predict(request(0, 1)) == 7
    for output in (1000, 10, 20, 60):
        predictor.learn(request(0, output))
    # The first is forgotten.
    assert predictor.predict(request(1, 1)) == 30
    assert predictor.predict(request(1, 1), made=10) == 40
    assert predictor.predict(request(1, 1), made=60) == 120


@pytest.mark.parametrize(("by", "expected"), [("all", 55), ("client", 10), ("prompt", 100)])
def test_history_may_be_a_clients_or_that_of_similar_prompts(by, expected):
    predictor = make_predictor({"kind": "history", "by": by})
    predictor.learn(request(0, 10, prompt=5, client=0))
    predictor.learn(request(1, 100, prompt=900, client=1))
    assert predictor.predict(request(2, 1, prompt=600, client=0)) == expected


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("orakle", "orakle"),
        ({"sigma": 1.0}, "no kind"),
        ({"kind": "noisy", "sgma": 1.0}, "sgma"),
        ({"kind": "noisy", "sigma": -1.0}, "sigma"),
        ({"kind": "noisy", "sigma": "much"}, "sigma"),
        ({"kind": "rank", "tau": 0.5}, "spread"),
        ({"kind": "rank", "tau": 0.0}, "tau"),
        ({"kind": "bucketed", "edges": [5, 5]}, "edges"),
        ({"kind": "bucketed", "accuracy": 1.5}, "accuracy"),
        ({"kind": "bucketed", "width": 0}, "width"),
        ({"kind": "history", "window": 0}, "window"),
    ],
)
def test_a_wrong_choice_is_the_users_mistake(choice, message):
    with pytest.raises(InputError, match=message):
        make_predictor(choice)


def test_a_users_own_predictor_is_named_by_its_module():
    assert isinstance(make_predictor("simulator.scheduling.predictors:Rank"), Rank)
