"""A target says what is near enough, and in words that a reader can check."""

import pytest
from pydantic import ValidationError

from simulator.experiment.reproductions.tools.target import Target

NAN = float("nan")


def target(**given):
    return Target.model_validate({"what": "figure", **given})


@pytest.mark.parametrize(
    ("given", "holds", "fails", "words"),
    [
        ({"paper": 2.0, "within": "25%"}, [1.5, 2.5], [1.49, 2.51, NAN], "±25%"),
        ({"paper": -2.0, "within": "25%"}, [-1.5, -2.5], [-1.49, 2.0], "±25%"),
        ({"paper": 87.3, "within": 8, "unit": "%"}, [79.3, 95.3], [79.2, 95.4], "±8 %"),
        ({"at_least": 1.5, "at_most": 2.5, "unit": "x"}, [1.5, 2.5], [1.4, 2.6, NAN], "1.5 to 2.5 x"),
        ({"at_least": 15}, [15, 1e9], [14.9], "at least 15"),
        ({"at_most": 40000}, [40000, -1], [40001], "at most 40000"),
        ({"paper": 1.0, "within": "50%", "at_least": 0.9}, [0.9, 1.5], [0.6], "±50%, at least 0.9"),
    ],
)
def test_bounds(given, holds, fails, words):
    asked = target(**given)
    assert [asked.holds([value]) for value in holds] == [True] * len(holds)
    assert [asked.holds([value]) for value in fails] == [False] * len(fails)
    assert asked.tolerance() == words


def test_which_statistic_of_the_seeds_counts():
    values = [1.0, 1.0, 10.0]
    assert target(at_most=4).holds(values)
    assert not target(at_most=1).holds(values)
    assert target(at_most=1, of="median").holds(values)
    assert not target(at_most=9, of="every").holds(values)
    assert target(at_most=10, of="every").holds(values)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs 'within', 'at_least' or 'at_most'"),
        ({"within": "25%"}, "needs the paper's value"),
        ({"paper": 1, "within": "quarter%"}, "not a percentage"),
        ({"paper": 1, "within": -1}, "greater than or equal to 0"),
        ({"role": "vital", "at_least": 1}, "'required', 'shape' or 'shown'"),
    ],
)
def test_a_target_nobody_could_decide_is_refused(given, said):
    with pytest.raises(ValidationError, match=said):
        target(**given)


def test_a_row_that_is_only_shown_needs_no_tolerance():
    assert target(role="shown").tolerance() == ""
