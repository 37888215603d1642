"""Speculative decoding: expected tokens as the closed form says, and iterations that add up to steps."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.cost.speculative import SpeculativeCost, Step, expected_tokens
from simulator.cost.tabulated import Alike


class Linear(CostModel):
    """1000 ps, 7 a row, 2 a KV token, 5 a prompt token."""

    def decode_run(self, requests, context, decodes):
        return 1000 + 7 * requests + 2 * context, 2 * requests, 2**62

    def mixed(self, chunks, tokens, requests, context, decodes):
        return 1000 + 7 * requests + 2 * context + 5 * tokens

    def coverage(self, seen=None):
        return {}


class Draft:
    def decode_ps(self, requests, context, longest):
        return 40 * requests

    def prompt_ps(self, chunks, tokens):
        return tokens


def speculating(verified=5, gained=2.5, sequence_ps=0.0):
    return SpeculativeCost(Linear(), Draft(), Step(verified, gained), sequence_ps, "a test")


@given(st.fractions(0, 1), st.integers(1, 12))
def test_expected_tokens_of_a_rate_are_the_closed_form(rate, tokens):
    expected = tokens + 1 if rate == 1 else (1 - rate ** (tokens + 1)) / (1 - rate)
    assert expected_tokens([float(rate)] * tokens) == pytest.approx(float(expected), rel=1e-12)


def test_expected_tokens_by_position_count_only_what_follows_accepted_ones():
    assert expected_tokens([0.5, 0.25, 0.0, 1.0]) == 1 + 0.5 + 0.125
    assert expected_tokens([0.75] * 3) == float((1 - Fraction(3, 4) ** 4) / Fraction(1, 4))


def test_an_iteration_is_a_steps_share():
    batch, context = 4, 4 * 256  # a knot
    rows, read = 4 * 5, context + 4 * 4
    step = 1000 + 7 * rows + 2 * read + 40 * batch
    first, growth, _ = speculating().decode_run(batch, context, Alike(256))
    assert first == round(step / 2.5)
    assert growth == pytest.approx(2 * batch / 2.5, abs=batch)


def test_a_step_with_a_prompt_takes_what_verifying_both_together_takes():
    cost, request = speculating(), Request(0, 0, 100, 10)
    batch, context = 4, 4 * 256
    together = Linear().mixed([(request, 100)], 100, 20, context + 16, None) + 40 * batch + 100
    spent = cost.mixed([(request, 100)], 100, batch, context, Alike(256))
    rest = (2.5 - 1) * cost.decode_run(batch, context, Alike(256))[0]
    assert spent + rest == pytest.approx(together, abs=3)


def test_a_prompt_alone_pays_for_the_draft_and_once_for_the_host():
    request = Request(0, 0, 100, 10)
    alone = speculating(sequence_ps=50.0).mixed([(request, 100)], 100, 0, 0, Alike(1))
    assert alone == 1000 + 5 * 100 + 100 + 50 * 4 / 5


@given(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 200))
def test_runs_are_their_single_iterations(batch, mean, steps):
    cost = speculating()
    context = batch * mean
    first, growth, limit = cost.decode_run(batch, context, Alike(mean))
    for n in range(min(steps, limit)):
        assert cost.decode_run(batch, context + n * batch, Alike(mean + n))[0] == first + n * growth
