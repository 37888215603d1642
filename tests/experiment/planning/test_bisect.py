"""Searches for the point where an answer turns: right wherever it is, and without asking more than they need."""

import math

from hypothesis import given
from hypothesis import strategies as st

from simulator.experiment.planning.bisect import highest_rate, smallest


@given(st.integers(1, 200), st.integers(1, 300), st.integers(1, 200))
def test_smallest_finds_the_turn_from_any_guess_and_has_asked_the_count_before_it(most, turn, start):
    asked = {}

    def meets(count):
        assert count not in asked, "asked twice"
        asked[count] = count >= turn
        return asked[count]

    found = smallest(meets, start, most)
    assert found == (turn if turn <= most else None)
    if found is not None:
        assert asked[found] and (found == 1 or asked[found - 1] is False)
    assert all(1 <= count <= most for count in asked)
    distance = abs(min(turn, most) - min(start, most)) + 1
    assert len(asked) <= 2 * math.log2(distance) + 3


@given(st.floats(0.01, 1000), st.floats(0.05, 500))
def test_highest_rate_is_below_the_edge_by_at_most_its_precision(edge, start):
    found = highest_rate(lambda rate: rate <= edge, start, precision=0.1, least=0.1, most=100)
    if edge < 0.1:
        assert found is None
    else:
        assert found <= edge
        assert found >= min(edge, 100) / 1.1 or found == 100
