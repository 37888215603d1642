import numpy as np
import pytest

from simulator.report import breakdown, latency, style
from simulator.report.goodput import figure_goodput, has_rates
from simulator.report.percentiles import MOST_ROWS, figure_percentiles
from simulator.report.results import read_results, runs_of


@pytest.fixture(autouse=True)
def _styled():
    with style.plot_style():
        yield


def _latencies(folder):
    results = read_results(folder)
    return [
        latency.latency_of(each.run, each.requests(latency.COLUMNS), each.iterations(latency.ITERATION_COLUMNS))
        for each in results.tables
    ]


def _said(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def _legend(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def _runs(count, **extra):
    metrics = {f"{name}_{key}_ms": 10.0 * (i + 1) for i, name in enumerate(("median", "p90", "p95", "p99"))
               for key in ("ttft", "tpot", "e2el")}  # fmt: skip
    entries = [
        {"name": f"v{i}", "metrics": {**metrics, "slo_attainment": 1 - i / 100, "request_goodput": 1.0},
         "slo": {"ttft_ms": 25.0}, "offered_rate": 1.0, **extra} for i in range(count)
    ]  # fmt: skip
    return runs_of({"experiment": "e", "runs": entries})


def test_cdf_has_a_curve_a_run_and_the_limits(three_runs):
    figure = latency.figure_cdf(_latencies(three_runs))
    ttft, _, itl, e2e = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == list(latency.CURVES.values())
    assert itl.get_ylabel() == "share of tokens (%)"
    assert ttft.get_ylabel() == "share of requests (%)"
    assert all("latency (ms" in axes.get_xlabel() or "latency (s" in axes.get_xlabel() for axes in figure.axes)
    assert _legend(figure) == ["fcfs", "skip-join mlfq", "slow"]
    assert {"SLO 500 ms", "SLO 50.0 ms", "SLO 50 ms"} & set(_said(figure)) == {"SLO 500 ms", "SLO 50 ms"}
    assert any(line.get_xdata()[0] == 500 for line in ttft.lines if len(line.get_xdata()) == 2)
    curves = [line for line in e2e.lines if len(line.get_xdata()) > 2]
    assert [line.get_color() for line in curves] == [style.BLUE, "#e69f00", "#009e73"]


def test_a_curve_ends_at_the_share_that_completed(three_runs):
    for one in _latencies(three_runs):
        completed = one.run.metric("completed")
        curve = one.curves["e2el"]
        assert curve.share[-1] == pytest.approx(completed / 300 * 100)
        assert np.all(np.diff(curve.share) > 0) and np.all(np.diff(curve.ms) >= 0)


def test_a_reduced_curve_keeps_the_quantiles():
    values = np.random.default_rng(1).lognormal(3, 1, 200_000)
    (run,) = _runs(1)
    columns = {"completed": np.ones(len(values), bool), **{f"{key}_ms": values for key in latency.LATENCIES}}
    nothing = {name: np.array([]) for name in latency.ITERATION_COLUMNS}
    found = latency.latency_of(run, columns, nothing)
    curve = found.curves["ttft"]
    assert len(curve.ms) < 1000 and len(found.curves["itl"].ms) == 0
    for q in (50, 90, 99, 99.9):
        assert np.interp(q, curve.share, curve.ms) == pytest.approx(np.percentile(values, q), rel=0.01)


def test_gaps_between_tokens_weigh_by_the_requests_that_wait_for_them():
    """Two requests wait 1, 2, .., 100 s each, one more waits 200 s twice."""
    (run,) = _runs(1)
    columns = {"completed": np.ones(1, bool), **{f"{key}_ms": np.ones(1) for key in latency.LATENCIES}}
    steps = {
        "first_iteration_s": np.array([1.0, 200.0, 7.0]),
        "growth_s": np.array([1.0, 0.0, 0.0]),
        "iterations": np.array([100, 2, 5]),
        "decode_requests": np.array([2, 1, 0]),
    }
    curve = latency.latency_of(run, columns, steps).curves["itl"]
    gaps = np.concatenate([np.repeat(np.arange(1, 101), 2), [200, 200]]) * 1000
    assert curve.ms[-1] == 200_000 and curve.share[-1] == 100
    # A hundred gaps are drawn as eight groups, each at its middle.
    for q in (20, 50, 80):
        assert np.interp(q, curve.share, curve.ms) == pytest.approx(np.percentile(gaps, q), abs=13_000)
    assert curve.share[curve.ms < 200_000].max() == pytest.approx(200 / 202 * 100)


def test_percentile_bars_show_every_percentile_and_the_limits(three_runs):
    runs = read_results(three_runs).runs
    figure = figure_percentiles(runs)
    ttft = figure.axes[0]
    assert [label.get_text() for label in ttft.get_yticklabels()] == ["fcfs", "skip-join mlfq", "slow"]
    assert _legend(figure) == ["median", "p90", "p95", "p99"]
    assert "SLO 500 ms" in _said(figure)
    scale = 1000 if "(s" in ttft.get_xlabel() else 1
    drawn = {round((bar.get_x() + bar.get_width()) * scale, 6) for bar in ttft.patches if np.isfinite(bar.get_width())}
    for run in runs:
        for name in ("median", "p90", "p95", "p99"):
            assert round(run.metric(f"{name}_ttft_ms"), 6) in drawn


def test_beyond_eight_variants_the_best_keep_their_colours():
    runs = _runs(20)
    looks = style.looks_of(runs)
    assert [group for group, look in looks.items() if look.own] == [f"v{i}" for i in range(7)]
    assert "(7 best of 20 in colour)" in figure_percentiles(runs).get_suptitle().replace("\n", " ")
    assert all(look.own for look in style.looks_of(_runs(8)).values())
    assert len({look.colour for look in style.looks_of(_runs(8)).values()}) == 8


def test_bars_are_kept_to_what_can_be_read():
    figure = figure_percentiles(_runs(60))
    assert len(figure.axes[0].get_yticklabels()) == MOST_ROWS
    assert f"{MOST_ROWS} best of 60 runs" in figure.get_suptitle()


def test_a_limit_beyond_the_data_is_named_at_the_edge():
    figure = figure_percentiles(_runs(2, slo={"ttft_ms": 5000.0}))
    assert "SLO 5 s →" in _said(figure)
    assert figure.axes[0].get_xlim()[1] < 100


def test_time_spent_adds_up_to_the_latency(three_runs):
    tables = read_results(three_runs).tables
    spent = [breakdown.time_spent(each.run, breakdown.read_phases(each)) for each in tables]
    for row in spent:
        assert sum(row.mean_ms.values()) == pytest.approx(row.run.metric("mean_e2el_ms"))
        assert row.mean_ms["waiting"] + row.mean_ms["prefill"] == pytest.approx(row.run.metric("mean_ttft_ms"))
    figure = breakdown.figure_time_spent(spent)
    assert _legend(figure) == [breakdown.PHASES[name][0] for name in ("waiting", "prefill", "decode")]
    assert [axes.get_xlabel()[:23] for axes in figure.axes] == ["mean time of a request "] * 2


def _sweep(goodput=True):
    entries = []
    for variant, knee in (("fcfs", 5), ("sarathi", 9), ("bad", 0)):
        for rate in (2, 4, 8):
            good = {"request_goodput": float(min(rate, knee)), "slo_attainment": 1.0 if rate <= knee else knee / rate}
            metrics = good if goodput else {"request_throughput": 1.0, "p99_ttft_ms": 10.0**rate}
            entries.append({"name": f"{variant} {rate}", "variant": variant, "sweep": {"w.rate": rate},
                            "offered_rate": rate, "metrics": metrics})  # fmt: skip
    return runs_of({"experiment": "e", "runs": entries})


def test_goodput_is_drawn_by_variant_over_the_offered_rate():
    figure = figure_goodput(_sweep())
    left, right = figure.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("offered load (req/s)", "goodput (req/s)")
    assert right.get_ylabel() == "SLO attainment (%)"
    lines = {line.get_label(): line for line in left.lines}
    assert list(lines["fcfs (90% up to 4 req/s)"].get_xdata()) == [2, 4, 8]
    assert list(lines["fcfs (90% up to 4 req/s)"].get_ydata()) == [2, 4, 5]
    assert {"sarathi (90% throughout)", "bad (below 90% throughout)"} <= set(_legend(figure))


def test_without_an_slo_throughput_takes_goodputs_place():
    left, right = figure_goodput(_sweep(goodput=False)).axes
    assert left.get_ylabel() == "throughput (req/s)"
    assert right.get_ylabel() == "TTFT p99 (ms, log scale)"


def test_goodput_needs_two_rates(three_runs):
    assert not has_rates(read_results(three_runs).runs)
    assert has_rates(_sweep())
