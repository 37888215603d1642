"""The verdict follows from the rows by the stated rule; the JSON holds all that a reader needs to judge it."""

import json

import pytest
from support.reproductions import SETUP

from simulator.experiment.reproductions.tools.judge import judge
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.setup import Setup

NAN, INF = float("nan"), float("inf")


def setup(**changes):
    return Setup.model_validate(SETUP | changes)


def verdict(speed, order, **changes):
    outcome = Outcome({"speed": Row([speed]), "order": Row([order]), "extra": Row([0.0])})
    found = judge("small", setup(**changes), outcome)
    return found["verdict"], found["why"]


@pytest.mark.parametrize(
    ("speed", "order", "expected", "why"),
    [
        (10.9, 1.2, "reproduced", ""),
        (12.0, 1.2, "shape only", "outside tolerance: speed"),
        (NAN, 1.2, "shape only", "outside tolerance: speed"),
        (10.0, 0.9, "not reproduced", "outside tolerance: order"),
        (12.0, 0.9, "not reproduced", "outside tolerance: speed; order"),
    ],
)
def test_the_rule(speed, order, expected, why):
    assert verdict(speed, order) == (expected, why)


def test_without_a_required_row_nothing_is_more_than_its_shape():
    shapes = {key: {**row, "role": "shape"} for key, row in SETUP["targets"].items() if key != "extra"}
    outcome = Outcome({"speed": Row([10.0]), "order": Row([2.0])})
    assert judge("small", setup(targets=shapes), outcome)["verdict"] == "shape only"


def test_without_a_shape_row_a_missed_figure_is_not_reproduced():
    outcome = Outcome({"speed": Row([99.0])})
    targets = {"speed": SETUP["targets"]["speed"]}
    assert judge("small", setup(targets=targets), outcome)["verdict"] == "not reproduced"


def test_no_target_goes_without_its_row_and_no_row_without_its_target():
    with pytest.raises(ValueError, match="differ in extra"):
        judge("small", setup(), Outcome({"speed": Row([1.0]), "order": Row([1.0])}))
    with pytest.raises(ValueError, match="differ in more"):
        judge("small", setup(), Outcome({key: Row([1.0]) for key in ("speed", "order", "extra", "more")}))


def test_the_json_has_mean_spread_seeds_and_the_uncalibrated_result():
    panel = Panel("title", "x", "y", [Series("ours", [1, 2], [1.0, INF], [0.1, NAN])])
    rows = {"speed": Row([9.0, 10.0, 11.0], [20.0, 20.0, 26.0]), "order": Row([2.0]), "extra": Row([NAN, 1.0])}
    found = judge("small", setup(), Outcome(rows, Figure("figure", [panel]), ["a note"]))
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again == found
    speed, _, extra = found["rows"]
    assert speed["ours"] == {"mean": 10.0, "sd": 1.0, "values": [9.0, 10.0, 11.0]}
    assert speed["uncalibrated"]["mean"] == 22.0
    assert (speed["holds"], speed["uncalibrated_holds"], extra["holds"]) == (True, False, None)
    assert extra["ours"]["values"] == [None, 1.0]
    assert found["figure"]["panels"][0]["series"][0]["y"] == [1.0, None]
    assert (found["requests"], found["seeds"], found["notes"]) == (20, [0, 1, 2], ["a note"])
    assert found["ours"] == "speed: 10 (paper 10); order: 2"
    assert found["tolerance"] == "speed: ±10%; order: at least 1"


def test_a_quick_look_is_smaller_and_otherwise_the_same():
    short = setup().shortened()
    assert (short.requests, short.seeds) == (5, [0, 1])
    assert short.targets == setup().targets
