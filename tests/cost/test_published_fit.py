"""Published fits as cost models: the published formula, exact runs, and the rules for what papers leave open."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from support.batches import Batch, decode_ps, mixed_ps

from simulator.core import PS_PER_MS
from simulator.cost.published_fit import CostFit
from simulator.experiment.reproductions.tools.read_setup import shared_costs

AFFINE = {
    "kind": "affine",
    "source": "made up",
    "prefill": {"base": "18.1ms", "token": "0.10191ms", "token_squared": "7.12e-6ms"},
    "decode": [
        {"base": "19.93ms", "context": "6.27e-4ms", "request": "0.0385ms"},
        {"from": 95, "base": "7.17ms", "context": "5.8e-4ms", "request": "0.1583ms"},
    ],
}
TABLE = {
    "kind": "table",
    "source": "made up",
    "prefill": {"128": "48ms", "512": "106ms", "1024": "214ms", "2048": "366ms"},
    "decode": {"1": "46.8ms", "8": "69.7ms", "32": "87.9ms"},
}
FITS = {
    "affine": AFFINE,
    "affine, two stages": AFFINE | {"stages": 2, "hop": "1ms"},
    "affine, scaled": AFFINE | {"scale": {"decode_base": 1.31, "decode_context": 1.31, "prefill": 0.9}},
    "affine, falling in requests": AFFINE | {"decode": [{"base": "200ms", "context": "1e-5ms", "request": "-0.5ms"}]},
    "table": TABLE,
    "table, with context": TABLE | {"context": "1e-4ms", "overhead": {"iteration": "2ms", "token": "1e-4ms"}},
}


def cost(fit, **changes):
    return TypeAdapter(CostFit).validate_python(fit | changes).cost_model()


def ms(picoseconds):
    return picoseconds / PS_PER_MS


@pytest.mark.parametrize("name", FITS)
@given(contexts=st.lists(st.integers(1, 4000), min_size=1, max_size=200), at=st.lists(st.integers(0, 5000), max_size=8))
def test_a_run_is_its_single_steps(name, contexts, at):
    model, batch = cost(FITS[name]), Batch(contexts)
    first, growth, limit = batch.run(model)
    assert first > 0
    assert growth >= 0
    for n in [0, 1, 2, *at]:
        assert n < limit
        assert batch.later(n).run(model)[0] == first + n * growth


def test_an_affine_fit_is_its_formula_in_both_regimes():
    model = cost(AFFINE)
    prompts = [(0, 300), (0, 700)]
    expected = 18.1 + 0.10191 * 1000 + 7.12e-6 * (300**2 + 700**2)
    assert ms(mixed_ps(model, prompts)) == pytest.approx(expected, rel=1e-9)
    assert ms(decode_ps(model, [500] * 94)) == pytest.approx(19.93 + 6.27e-4 * 94 * 500 + 0.0385 * 94, rel=1e-9)
    assert ms(decode_ps(model, [500] * 95)) == pytest.approx(7.17 + 5.8e-4 * 95 * 500 + 0.1583 * 95, rel=1e-9)


def test_chunks_of_a_prompt_pay_its_squares_once():
    model = cost(AFFINE)
    chunks = sum(mixed_ps(model, [(cached, 500)]) for cached in range(0, 2000, 500))
    assert ms(chunks - mixed_ps(model, [(0, 2000)])) == pytest.approx(3 * 18.1, rel=1e-9)


def test_decodes_are_cut_among_stages_and_prompts_pass_them_all():
    model = cost(AFFINE, stages=4, hop="1ms")
    assert ms(decode_ps(model, [100] * 8)) == pytest.approx(19.93 + 6.27e-4 * 200 + 0.0385 * 2 + 4, rel=1e-9)
    # Fewer requests than stages: each passes them alone.
    assert ms(decode_ps(model, [100] * 2)) == pytest.approx(19.93 + 6.27e-4 * 100 + 0.0385 + 4, rel=1e-9)
    assert mixed_ps(model, [(0, 300)]) - mixed_ps(cost(AFFINE), [(0, 300)]) == 4 * PS_PER_MS


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("sum", lambda p, d: p + d),
        ("sum_less_base", lambda p, d: p + d - 18.1),
        ("max", max),
        ("prefill_of_all", lambda p, d: p + 0.10191 * 3),
    ],
)
@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_prompts_and_decodes_together_follow_the_rule(rule, expected, factor):
    model = cost(AFFINE, mixed=rule, mixed_factor=factor)
    prompts, contexts = [(0, 100)], [50, 60, 70]
    alone = ms(mixed_ps(model, prompts)), ms(decode_ps(model, contexts))
    assert ms(mixed_ps(model, prompts, contexts)) == pytest.approx(factor * expected(*alone), rel=1e-9)
    assert mixed_ps(model, prompts) == mixed_ps(cost(AFFINE), prompts), "a rule for both changes neither alone"


def test_what_comes_once_an_iteration_is_not_counted_twice_where_prompts_and_decodes_meet():
    plain, burdened = cost(AFFINE, hop="1ms"), cost(AFFINE, hop="1ms", overhead={"iteration": "2ms", "token": "0.5ms"})
    more = mixed_ps(burdened, [(0, 10)], [5, 6]) - mixed_ps(plain, [(0, 10)], [5, 6])
    assert ms(more) == pytest.approx(2 + 0.5 * 12)


def test_a_scale_multiplies_its_term_alone():
    plain, scaled = cost(AFFINE), cost(AFFINE, scale={"decode_context": 2.0})
    assert ms(decode_ps(scaled, [1000]) - decode_ps(plain, [1000])) == pytest.approx(0.627, rel=1e-9)
    assert mixed_ps(scaled, [(0, 700)]) == mixed_ps(plain, [(0, 700)])
    assert mixed_ps(cost(TABLE, scale={"prefill": 0.5}), [(0, 512)]) == 53 * PS_PER_MS
    assert decode_ps(cost(TABLE, scale={"decode": 0.5}), [9] * 8) == round(34.85 * PS_PER_MS)


@pytest.mark.parametrize(("tokens", "expected"), [(512, 106), (768, 160), (4096, 670), (64, 38 + 1 / 3)])
def test_a_table_is_straight_between_its_sizes_and_beyond_them(tokens, expected):
    assert ms(mixed_ps(cost(TABLE), [(0, tokens)])) == pytest.approx(expected)


def test_prompts_in_one_iteration_pay_the_empty_one_once():
    model = cost(TABLE)
    empty = 48 - 128 * (106 - 48) / 384
    both = ms(mixed_ps(model, [(0, 512), (0, 512)]))
    assert both == pytest.approx(2 * 106 - empty)


@pytest.mark.parametrize(("prompt", "measured"), [(2047, 1.15), (4095, 1.19), (8191, 1.12), (16383, 1.00)])
def test_chunks_of_512_cost_what_sarathi_measured(prompt, measured):
    """Sarathi-Serve's artifact, figure 9: prefill in chunks of 512 over whole prefill, Yi-34B on two A100."""
    model = TypeAdapter(CostFit).validate_python(shared_costs()["yi-34b-tp2-a100-sarathi"]).cost_model()
    pieces = [(cached, min(512, prompt - cached)) for cached in range(0, prompt, 512)]
    chunked = sum(mixed_ps(model, [piece]) for piece in pieces)
    assert chunked / mixed_ps(model, [(0, prompt)]) == pytest.approx(measured, rel=0.08)


@pytest.mark.parametrize("name", shared_costs())
def test_shared_fits_rise_with_work(name):
    model = TypeAdapter(CostFit).validate_python(shared_costs()[name]).cost_model()
    prefills = [mixed_ps(model, [(0, tokens)]) for tokens in (1, 100, 1000, 4000)]
    assert prefills == sorted(set(prefills))
    assert 0 < decode_ps(model, [500]) < decode_ps(model, [500] * 30) < decode_ps(model, [500] * 200)
    assert model.coverage()["iteration"].startswith("published: ")


@pytest.mark.parametrize(
    ("fit", "changes", "said"),
    [
        (AFFINE, {"decode": [{"from": 5, "base": "1ms", "context": "0ms"}]}, "regimes must begin at 1"),
        (AFFINE, {"prefill": {"base": 18.1, "token": "1ms"}}, "has no unit"),
        (AFFINE, {"prefil": {}}, "Extra inputs"),
        (TABLE, {"decode": {"1": "1ms"}}, "two sizes or more"),
        (TABLE, {"decode": {"8": "1ms", "1": "2ms"}}, "rising"),
        (TABLE, {"decode": {"one": "1ms", "2": "2ms"}}, "whole numbers"),
        (TABLE, {"kind": "tabel"}, "does not match any of the expected tags"),
    ],
)
def test_a_wrong_fit_is_refused(fit, changes, said):
    with pytest.raises(ValidationError, match=said):
        cost(fit, **changes)
