"""Dollars and joules of a run: by hand, from YAML to summary, and from measured power to the shipped curve."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.core import PS_PER_S, InputError
from simulator.engine.ledger import RUN_COLUMNS, Ledger, pack_run
from simulator.experiment.calibration.power import fit_power
from simulator.experiment.costs import Meter, bill, matmul_flops
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment
from simulator.hardware.registry import known_profiles, load_profile
from simulator.hardware.sections import Draw, PowerCurve
from simulator.model.registry import load_model

MEASURED = Path(__file__).parents[3] / "shared" / "measured" / "saturated_points.csv"
CURVE = PowerCurve(base="100W", slope="200W", error=0.1, samples=9)


def ledger(**columns):
    made = Ledger()
    made.add_packed_run(pack_run(*(columns.get(name, 0) for name in RUN_COLUMNS)))
    return made


def meter(draw, price=2.0, gpus=2):
    return Meter(gpus, price, "test", draw, flops_per_token=1e9, peak=1e12)


def test_energy_is_the_curve_while_it_iterates_and_idle_power_between():
    # Four iterations of 2.5 s with 50 decodes: 50 tokens x 1e9 FLOPs in 2.5 s of 2 GPUs x 1e12 FLOP/s are 1 %.
    run = ledger(first=5 * PS_PER_S // 2, iterations=4, decodes=50)
    draw = Draw(tdp="700W", idle="40W", curve=CURVE)
    assert meter(draw).joules(run, 15.0) == pytest.approx(2 * ((100 + 200 * 0.1) * 10 + 40 * 5))


# A run of iterations grows by a few nanoseconds each; a thousand times that is more than any does.
@pytest.mark.parametrize(("most_growth", "error"), [(PS_PER_S // 10**8, 1e-12), (PS_PER_S // 10**5, 1e-6)])
@given(data=st.data(), count=st.integers(1, 400), decodes=st.integers(0, 300))
def test_iterations_that_grow_draw_what_each_by_itself_does(most_growth, error, data, count, decodes):
    growth = data.draw(st.integers(0, most_growth))
    first, draw, alone = PS_PER_S // 100, Draw(tdp="700W", idle="40W", curve=CURVE), Ledger()
    together = ledger(first=first, growth=growth, iterations=count, decodes=decodes)
    for index in range(count):
        columns = {"first": first + index * growth, "iterations": 1, "decodes": decodes}
        alone.add_packed_run(pack_run(*(columns.get(name, 0) for name in RUN_COLUMNS)))
    assert meter(draw).joules(together, 9.0) == pytest.approx(meter(draw).joules(alone, 9.0), rel=error)


def test_prompt_tokens_count_like_decodes():
    decoding = ledger(first=PS_PER_S, iterations=1, decodes=300)
    mixed = ledger(first=PS_PER_S, iterations=1, decodes=50, prefills=1, prefill_tokens=250)
    draw = Draw(tdp="700W", curve=CURVE)
    assert meter(draw).joules(mixed, 1.0) == meter(draw).joules(decoding, 1.0)


def test_without_a_curve_the_limit_bounds_it_and_without_power_nothing_is_said():
    run = ledger(first=PS_PER_S, iterations=3, decodes=1)
    assert meter(Draw(tdp="300W", idle="30W")).joules(run, 5.0) == pytest.approx(2 * (300 * 3 + 30 * 2))
    assert meter(Draw(tdp="300W")).joules(run, 5.0) == pytest.approx(2 * 300 * 5)
    assert meter(None).joules(run, 5.0) is None


@given(st.floats(0, 1), st.floats(0, 1))
def test_power_grows_with_load_and_never_exceeds_the_limit(one, other):
    draw = Draw(tdp="250W", curve=CURVE)
    low, high = draw.iterating(np.array(sorted([one, other])))
    assert 100 <= low <= high <= 250


def test_the_bill_adds_up_instances_and_is_unknown_if_one_is():
    run = ledger(first=PS_PER_S, iterations=10, decodes=1)
    draw = Draw(tdp="300W")
    both = bill([meter(draw, 2.0), meter(draw, 3.0, gpus=1)], [run, run], 1800.0, 10**6)
    assert both["cost_usd"] == pytest.approx((2 * 2 + 3) * 0.5)
    assert both["usd_per_million_output_tokens"] == pytest.approx(3.5)
    assert both["energy_j"] == pytest.approx(300 * 3 * 1800)
    assert both["joules_per_output_token"] == pytest.approx(300 * 3 * 1800 / 10**6)
    unknown = bill([meter(draw, 2.0), meter(None, None)], [run, run], 1800.0, 10**6)
    assert set(unknown.values()) == {None}
    assert bill([meter(draw)], [run], 10.0, 0)["usd_per_million_output_tokens"] is None


def test_matrix_products_take_two_flops_a_weight_that_a_token_meets():
    assert matmul_flops(load_model("llama-3.1-8b")) == pytest.approx(2 * 7.5e9, rel=0.01)  # 8.03e9 less the embedding
    assert matmul_flops(load_model("qwen3-30b-a3b")) == pytest.approx(2 * 3.03e9, rel=0.03)  # 3.3e9 active


EXPERIMENT = """\
workload:
  arrivals: {process: poisson, rate: 5/s}
  prompt: {distribution: fixed, tokens: 100}
  output: {distribution: fixed, tokens: 10}
  requests: 50
model: llama-3.1-8b
cluster:
  instances: [{count: 2, hardware: HARDWARE}]
"""


def run_of(tmp_path, hardware, *sets):
    file = tmp_path / "priced.yaml"
    file.write_text(EXPERIMENT.replace("HARDWARE", hardware))
    return run_experiment(load_experiment(file, sets), tmp_path / "out").summary["runs"][0]


def test_every_summary_has_its_cost_and_energy_and_what_they_rest_on(tmp_path):
    run = run_of(tmp_path, "h100_sxm")
    metrics, kind = run["metrics"], run["cluster"]["kinds"][0]
    assert metrics["cost_usd"] == pytest.approx(metrics["gpu_hours"] * kind["usd_per_gpu_hour"])
    assert metrics["usd_per_million_output_tokens"] == pytest.approx(metrics["cost_usd"] / 500 * 1e6)
    assert 0 < metrics["energy_j"] <= 2 * 700 * metrics["duration_s"]
    assert "2026" in kind["price_source"]
    assert "power curve" in kind["power_source"] and "upper bound" in kind["power_source"]


def test_a_price_in_the_experiment_wins_and_unknown_prices_stay_null(tmp_path):
    own = run_of(tmp_path, "h100_sxm", "cluster.instances[*].price=2.5 USD/h")
    assert own["metrics"]["cost_usd"] == pytest.approx(own["metrics"]["gpu_hours"] * 2.5)
    assert own["cluster"]["kinds"][0]["price_source"] == "as the experiment says"
    unknown = run_of(tmp_path, "rtx_pro_6000")
    assert unknown["metrics"]["cost_usd"] is None
    assert "unknown" in unknown["cluster"]["kinds"][0]["price_source"]


def test_a_price_without_its_unit_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no unit; write a price such as 2\.5USD/h"):
        run_of(tmp_path, "h100_sxm", "cluster.instances[*].price=2.5")


@pytest.mark.parametrize("name", known_profiles())
def test_shipped_prices_name_provider_and_date_and_power_its_source(name):
    profile = load_profile(name)
    assert profile.power is not None
    if profile.price is not None:
        assert profile.price.source and profile.price.date.startswith("20")
        assert "list price" in profile.provenance["price"]


@pytest.mark.skipif(not MEASURED.exists(), reason="needs the measured data")
def test_the_shipped_curve_is_what_the_measurements_give():
    profile = load_profile("h100_sxm")
    fit, curve = fit_power(MEASURED, profile), profile.power.curve
    assert (curve.base, curve.slope, curve.samples) == (round(fit.base), round(fit.slope), fit.samples)
    assert curve.error == pytest.approx(fit.error, abs=5e-4)
    # What the profile says of its worst case is what comes out.
    assert f"+{max(fit.bias.values()):.0%}" in profile.provenance["power"]
    assert -min(fit.bias.values()) < max(fit.bias.values())


def test_a_fit_recovers_a_curve_and_its_error_is_that_of_models_it_has_not_seen(tmp_path):
    profile = load_profile("h100_sxm")
    names = {"Qwen/Qwen3-8B": 1.0, "Qwen/Qwen3-14B": 1.0, "meta-llama/Llama-3.1-8B-Instruct": 1.0}
    names |= {"google/gemma-3-12b-it": 1.2}  # draws a fifth more than the rule says
    rows = ["gpu_model,num_gpus,model_id,weight_precision,output_throughput_tokens_per_sec,avg_power_watts"]
    for model, factor in names.items():
        flops = matmul_flops(load_model(model.rpartition("/")[2].lower().removesuffix("-instruct").removesuffix("-it")))
        for rate in (500, 2000, 8000):
            watts = factor * (300 + 400 * (flops * rate / 989e12) ** 0.5)
            rows.append(f"H100,1,{model},bfloat16,{rate},{watts}")
    file = tmp_path / "points.csv"
    file.write_text("\n".join(rows) + "\n")
    fit = fit_power(file, profile)
    assert fit.errors["google/gemma-3-12b-it", 1] == pytest.approx(1 - 1 / 1.2, abs=1e-6)
    assert fit.bias["google/gemma-3-12b-it", 1] < 0
    assert 300 < fit.base < 330
    file.write_text("\n".join(rows[:7]) + "\n")
    with pytest.raises(InputError, match="runs of 2 models"):
        fit_power(file, profile)
