"""Fair queueing among clients: VTC, and what it is compared with."""

import pytest
from support.stepping import Stepper

from simulator.core import PS_PER_S, InputError


def service(requests):
    """Return the weighted tokens that each client was served."""
    served = {}
    for request in requests:
        if request.admitted_at >= 0:
            made = request.generated if request.finished_at >= 0 else 0
            served[request.client] = served.get(request.client, 0) + request.prompt_tokens + 2 * made
    return served


def overloaded(name, shares, **params):
    """Return requests of clients that send ``shares`` at once, after some time, when all of them still wait."""
    engine = Stepper(name, blocks=200, wait=2, **params)
    requests = [
        engine.new(10, output=10, client=client)
        for _ in range(2000 // sum(shares))
        for client, share in enumerate(shares)
        for _ in range(share)
    ]
    engine.steps(250)
    return requests


def test_clients_are_served_alike_however_much_they_send():
    fair = service(overloaded("vtc", [1, 4]))
    assert abs(fair[1] - fair[0]) < 2 * 2 * 200
    unfair = service(overloaded("slora", [1, 4]))
    assert unfair[1] > 3.5 * unfair[0]


@pytest.mark.parametrize("outputs", ["made", "predicted", "known"])
def test_weights_set_the_shares(outputs):
    served = service(overloaded("vtc", [1, 1], weights=[1.0, 3.0], outputs=outputs))
    assert served[1] / served[0] == pytest.approx(3, rel=0.2)


@pytest.mark.parametrize(("name", "first"), [("vtc", {0, 1}), ("lcf", {1})])
def test_staying_away_saves_up_service_only_without_the_lift(name, first):
    engine = Stepper(name, blocks=60, wait=1)
    for _ in range(60):
        engine.new(10, output=10, client=0)
    engine.steps(100)
    back = [engine.new(10, output=10, client=1) for _ in range(20)]
    before = {request.index for request in back}
    order = engine.run()
    # Of the ten that end after the last one of those that ran: of both clients in turn, or of the one that came back.
    assert {int(index in before) for index in order[3:13]} == first


def test_a_known_output_is_charged_at_the_start():
    engine = Stepper("vtc", blocks=1000, wait=1, max_num_seqs=2, outputs="known")
    engine.new(10, output=100, client=0)
    for _ in range(4):
        engine.new(10, output=2, client=1)
        engine.new(10, output=2, client=0)
    # Client 0 owes 210 from the start, so all of client 1's short ones go before its others.
    assert engine.run()[:4] == [1, 3, 5, 7]


def test_evicted_requests_are_not_charged_again():
    engine = Stepper("vtc", blocks=4, block_size=8, wait=1)
    requests = [engine.new(10, output=6, client=0), engine.new(10, output=6, client=1)]
    engine.run()
    assert sum(request.preemptions for request in requests) == 0
    accounts = engine.policy._accounts
    assert [accounts[client].charged for client in (0, 1)] == [10 + 2 * 6] * 2


def test_a_client_at_its_limit_waits_for_the_minute_to_pass():
    engine = Stepper("rpm", requests_per_minute=2, wait=1)
    for client in (0, 0, 0, 1):
        engine.new(10, output=3, client=client)
    assert engine.step() == {0: 10, 1: 10, 3: 10}
    assert engine.steps(3)[-1] == {}
    assert engine.plan.until == 60 * PS_PER_S
    engine.now = 60 * PS_PER_S
    assert engine.step() == {2: 10}


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("vtc", {"weights": [0.0]}),
        ("vtc", {"output_price": -1.0}),
        ("rpm", {"requests_per_minute": 0}),
        ("vtc", {"wait": 0}),
    ],
)
def test_impossible_parameters_are_refused(name, params):
    with pytest.raises(InputError):
        Stepper(name, **params)
