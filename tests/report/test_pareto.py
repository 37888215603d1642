import re

import pytest

from simulator.core.errors import InputError
from simulator.report import write_pareto_page
from simulator.report.pages.pareto_page import front_of


def _candidate(name, gpus, ttft, tpot, **more):
    metrics = {"p99_ttft_ms": ttft, "p99_tpot_ms": tpot, "slo_attainment": 0.99 if ttft < 500 else 0.4}
    good = ttft is not None and ttft < 500
    return {"name": name, "gpus": gpus, "cost_per_hour": 2.5 * gpus, "metrics": metrics, "feasible": good,
            "reason": "" if good else f"TTFT p99 {ttft} ms is over 500 ms", **more}  # fmt: skip


PLAN = {
    "candidates": [
        _candidate("2 x h100", 2, 90_000.0, 80.0),
        _candidate("3 x h100", 3, 480.0, 40.0),
        _candidate("4 x h100", 4, 250.0, 30.0),
        _candidate("4 x h100, random", 4, 300.0, 35.0),
        {"name": "1 x l40s", "gpus": 1, "cost_per_hour": 1.0, "metrics": {}, "feasible": False,
         "reason": "the weights (16 GB) do not fit <with> the KV cache"},
    ],
    "winner": "3 x h100",
    "slo": {"ttft": {"p99": 500}, "tpot": {"p99": 50}},
}  # fmt: skip


def _written(plan, tmp_path):
    return write_pareto_page(plan, tmp_path / "plan.html").read_text(encoding="utf-8")


def test_the_answer_comes_first_and_every_rejection_has_its_reason(tmp_path):
    page = _written(PLAN, tmp_path)
    assert "Take &quot;3 x h100&quot;: 3 GPUs, 7.50 US dollars an hour." in page
    assert "5 clusters tried, 3 of them found to keep the SLO." in page
    rows = re.findall(r'<th scope="row">(?:<span[^>]*>)?([^<]*)<', page)
    # Those that do, cheapest first; then those that don't.
    assert rows == ["3 x h100", "4 x h100", "4 x h100, random", "1 x l40s", "2 x h100"]
    assert "rejected: the weights (16 GB) do not fit &lt;with&gt; the KV cache" in page
    assert "rejected: TTFT p99 90000.0 ms is over 500 ms" in page
    assert "SLO 500 ms" in page and "SLO 50 ms" in page


def test_prices_that_nobody_knows_leave_gpus(tmp_path):
    plan = {**PLAN, "candidates": [{**each, "cost_per_hour": None} for each in PLAN["candidates"]]}
    page = _written(plan, tmp_path)
    assert "Take &quot;3 x h100&quot;: 3 GPUs." in page
    assert "compared by their GPUs" in page and '"text":"GPUs"' in page


def test_no_winner_is_an_answer_too(tmp_path):
    plan = {"candidates": [PLAN["candidates"][0]], "winner": None, "slo": {}}
    assert "No cluster of those tried keeps the SLO." in _written(plan, tmp_path)


@pytest.mark.parametrize("plan", [{}, {"candidates": []}, {"candidates": [{"name": "a"}]}, {"candidates": [3]}])
def test_what_is_no_plan_is_refused(plan, tmp_path):
    with pytest.raises(InputError):
        write_pareto_page(plan, tmp_path / "plan.html")


def test_a_page_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_pareto_page(PLAN, tmp_path / "no folder" / "plan.html")


def test_the_front_has_nothing_that_another_beats():
    points = [(1, 9), (2, 9), (2, 5), (3, 6), (4, 1), (4, 2), (5, 1)]
    assert front_of(points) == [(1, 9), (2, 5), (4, 1)]
