import json
import re
import shutil

import pytest
from support.report_pages import write_page

from simulator.core.errors import InputError
from simulator.report import write_comparison
from simulator.report.headline import METRICS, bases_of, difference
from simulator.report.pages.answer import answer
from simulator.report.pages.tables import replicas_html
from simulator.report.pages.trust import caveats
from simulator.report.results import runs_of

BY_KEY = {metric.key: metric for metric in METRICS}


def _runs(*attainments, **extra):
    return runs_of({"experiment": "e", "runs": [
        {"name": f"v{i}", "offered_rate": 4.0, "metrics": {"slo_attainment": share, "request_goodput": 1.0}, **extra}
        for i, share in enumerate(attainments)
    ]})  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value", "base", "text"),
    [
        ("p99_ttft_ms", 110.0, 100.0, "+10%"),
        ("p99_ttft_ms", 99.0, 100.0, "-1.0%"),
        ("p99_ttft_ms", 5000.0, 100.0, "x 50"),
        ("p99_ttft_ms", 100.001, 100.0, ""),
        ("p99_ttft_ms", float("nan"), 100.0, ""),
        ("preemptions", 3.0, 0.0, ""),
        ("slo_attainment", 60.0, 100.0, "-40.0 points"),
    ],
)
def test_differences_are_told_as_people_tell_them(key, value, base, text):
    assert difference(BY_KEY[key], value, base) == text


def test_only_runs_with_one_load_are_compared():
    runs = runs_of({"experiment": "e", "runs": [
        {"name": name, "offered_rate": rate, "metrics": {}} for name, rate in (("a", 1), ("b", 2), ("c", 1), ("d", 2))
    ]})  # fmt: skip
    assert [base.name for base in bases_of(runs)] == ["a", "b", "a", "b"]


def test_the_answer_names_who_kept_the_slo_and_who_did_not():
    assert answer(_runs(1.0, 0.99996, 0.5)) == (
        '2 of 3 runs kept at least 90% of their requests within the SLO: "v0" (100 %), "v1" (99.99 %). '
        'Worst: "v2" (50 %).'
    )
    assert answer(_runs(0.75)) == "75 % of the requests stayed within the SLO."
    assert answer(_runs(0.1, 0.2)).startswith("0 of 2 runs") and 'Best: "v1" (20 %). Worst: "v0"' in answer(
        _runs(0.1, 0.2)
    )


def test_under_rising_load_the_answer_is_a_capacity():
    entries = [
        {"name": f"{variant} {rate}", "variant": variant, "sweep": {"w.rate": rate}, "offered_rate": rate,
         "metrics": {"slo_attainment": 1.0 if rate <= knee else 0.5, "request_goodput": min(rate, knee)}}
        for variant, knee in (("fcfs", 4), ("other", 8)) for rate in (2, 4, 8)
    ]  # fmt: skip
    found = answer(runs_of({"experiment": "e", "runs": entries}))
    assert found.startswith('90% stayed within the SLO up to 8 requests/s, with "other".')
    assert '"other" has the highest goodput: 8 requests/s.' in found


def test_caveats_come_from_wherever_the_coverage_says_so():
    coverage = {"0: h100": {"terms": {"decode": "measured (x)", "prefill": "roofline"}, "beyond": ["prompt of 9,000"]}}
    (run,) = _runs(1.0, coverage=coverage)
    assert caveats([run]) == [
        "Not measured (0: h100): prefill (roofline)",
        "Beyond what was measured (0: h100): prompt of 9,000",
    ]


def test_replicas_tell_which_differences_are_real():
    def of(mean, **differences):
        return {"name": f"v{mean:g}", "metrics": {"p99_ttft_ms": {"mean": mean, "low": mean - 1, "high": mean + 1}},
                "differences": differences}  # fmt: skip

    chance = {"mean": 2.0, "low": -1.0, "high": 5.0, "relative": 0.02, "real": False}
    page = replicas_html({
        "confidence": 0.95, "method": "bootstrap", "seeds": [1, 2, 3],
        "points": [of(100.0), of(102.0, p99_ttft_ms=chance), of(150.0, p99_ttft_ms={**chance, "real": True})],
    })  # fmt: skip
    assert re.findall(r"<b>(.*?)</b>", page) == ["may be chance", "real"]
    assert "Mean over 3 seeds with its 95% interval" in page


def test_cost_and_energy_appear_once_they_are_known(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 30}], instances=1)
    assert "cost of a million" not in write_page(folder).read_text(encoding="utf-8")
    summary = json.loads((folder / "summary.json").read_text())
    summary["runs"][0]["metrics"] |= {"cost_usd": 1.25, "usd_per_million_output_tokens": 0.4, "energy_j": 5400.0}
    (folder / "summary.json").write_text(json.dumps(summary))
    page = write_page(folder).read_text(encoding="utf-8")
    assert re.search(r"cost of a million output tokens <small>USD</small></th><td>0.4<", page)
    assert re.search(r"energy <small>kJ</small></th><td>5.40<", page)


def test_a_comparison_names_runs_by_folder_and_settings_that_differ(real_results, three_runs, tmp_path):
    page = write_comparison([real_results, three_runs], tmp_path / "c.html").read_text(encoding="utf-8")
    names = re.findall(r'<th scope="col">([^<]*: [^<]*)</th>', page)
    assert {"tight memory: roomy", "tight memory: tight", "made &lt;up&gt; &amp; small: fcfs"} <= set(names)
    assert re.search(r'<th scope="row">model</th><td>llama-3.1-8b</td><td>not set</td>', page)


def test_folders_of_one_experiment_are_told_apart_by_their_paths(make_results, tmp_path):
    first = make_results(tmp_path / "monday" / "x", [{"name": "a", "requests": 30}], instances=1)
    second = tmp_path / "tuesday" / "x"
    shutil.copytree(first, second)
    page = write_comparison([first, second], tmp_path / "c.html").read_text(encoding="utf-8")
    assert 'data-key="run:monday/x"' in page and 'data-key="run:tuesday/x"' in page
    assert "Nothing: the configurations are the same." in page


def test_what_cannot_be_compared_is_explained(make_results, tmp_path):
    folder = make_results(tmp_path / "x", [{"name": "a", "requests": 30}], instances=1)
    with pytest.raises(InputError, match=r"no summary\.json here"):
        write_comparison([folder, tmp_path / "nothing"], tmp_path / "c.html")
    (folder / "summary.json").write_text(json.dumps({"schema": 1, "experiment": "x", "runs": []}))
    with pytest.raises(InputError, match="nothing to compare"):
        write_comparison([folder], tmp_path / "c.html")
