import gzip
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from simulator.core.errors import InputError
from simulator.experiment.load import load_experiment
from simulator.experiment.runner import run_experiment
from simulator.report import write_report, write_timelines


@pytest.fixture(scope="module")
def written(three_runs):
    return write_report(three_runs)


def _colours(png):
    pixels = (imread(png)[..., :3] * 255).astype(np.int64)
    return len(np.unique(pixels @ [65536, 256, 1]))


def test_every_plot_is_there_twice_and_not_blank(three_runs, written):
    names = ["percentiles", "latency_cdf", "time_spent", "slo_over_time"]
    names += ["timeline-fcfs", "timeline-skip-join-mlfq", "timeline-slow"]
    expected = [three_runs / "plots" / f"{name}.{ext}" for name in names for ext in ("png", "svg")]
    assert written == [*expected, three_runs / "report.html"]
    for path in expected:
        if path.suffix == ".png":
            assert _colours(path) > 50
        else:
            assert path.stat().st_size < 1_000_000


def test_the_same_results_give_the_same_report_and_nothing_lingers_of_another(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 40}], instances=2)
    before = {path: path.read_bytes() for path in write_report(folder)}
    (folder / "plots" / "timeline-gone.png").write_bytes(b"old")
    (folder / "plots" / "notes.txt").write_text("mine")
    assert {path: path.read_bytes() for path in write_report(folder)} == before
    assert not (folder / "plots" / "timeline-gone.png").exists()
    assert (folder / "plots" / "notes.txt").exists()


class _Tags(HTMLParser):
    VOID = ("meta", "link", "br")

    def __init__(self):
        super().__init__()
        self.attributes, self.open, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *attribute) for attribute in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.attributes += [(tag, *attribute) for attribute in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def charts(page):
    """Return the charts of a page as plotly gets them."""
    return json.loads(re.search(r'<script type="application/json" id="charts">(.*?)</script>', page)[1])


def test_the_page_holds_everything_and_fetches_nothing(written):
    page = written[-1].read_text(encoding="utf-8")
    tags = _Tags()
    tags.feed(page)
    assert tags.open == []
    # Packed, plotly.js takes a third; a page can be mailed.
    assert len(page) < 3_000_000
    links = [value for _, name, value in tags.attributes if name in ("href", "src", "srcset", "action")]
    ids = [value for _, name, value in tags.attributes if name == "id"]
    assert links and all(link == "data:," or (link[0] == "#" and link[1:] in ids) for link in links)
    assert len(ids) == len(set(ids))
    assert not re.search(r"@import|url\(", page)
    labelled = {value for _, name, value in tags.attributes if name == "aria-labelledby"}
    assert labelled <= set(ids)
    assert {chart["id"] for chart in charts(page)} <= set(ids)


def test_the_page_says_what_ran_and_how_far_to_trust_it(written):
    page = written[-1].read_text(encoding="utf-8")
    assert "<h1>made &lt;up&gt; &amp; small</h1>" in page
    assert "SLO: TPOT 50 ms, TTFT 500 ms." in page
    assert "4,000 KV blocks of 16 tokens" in page and "on h100_sxm" in page
    assert "Note: host overhead of vLLM 0.9 assumed &lt;b&gt;" in page
    assert re.search(r"&quot;slow&quot;: \d+ requests failed", page)
    assert "slo: {ttft: 500ms}" in page
    assert page.count('class="best"') >= 5
    assert "prefers-color-scheme: dark" in page and "width=device-width" in page


def test_plotly_knows_every_word_of_the_charts(written):
    """Plotly's Python classes refuse what plotly.js would silently ignore."""
    graph_objects = pytest.importorskip("plotly.graph_objects")

    def concrete(value):
        if isinstance(value, str) and value.startswith("--"):
            return "#123456"
        if isinstance(value, dict):
            return {name: concrete(part) for name, part in value.items()}
        return [concrete(part) for part in value] if isinstance(value, list) else value

    found = charts(written[-1].read_text(encoding="utf-8"))
    ids = ["cdf-ttft", "cdf-tpot", "cdf-itl", "cdf-e2el", "slo-over-time", "instances", "time-spent", "worst"]
    assert [chart["id"] for chart in found] == ids
    for chart in found:
        for view in chart["views"]:
            graph_objects.Figure(data=concrete(view["data"]), layout=concrete(view["layout"]))
            assert view["data"]


@pytest.mark.parametrize(
    ("runs", "instances", "judged"),
    [
        pytest.param([{"name": "a", "requests": 1}], 1, True, id="one request"),
        pytest.param([{"name": "a", "requests": 60}], 1, False, id="no SLO, one instance"),
        pytest.param([{"name": "a", "requests": 20, "failing": 1.1}], 4, True, id="all failed"),
        pytest.param([{"name": f"run {i}", "requests": 20} for i in range(20)], 2, True, id="20 runs"),
        pytest.param([{"name": "a", "requests": 400, "rate": 50}], 64, True, id="64 instances"),
        pytest.param(
            [
                {"name": f"{name} rate={r}", "requests": 50, "rate": r}
                for name, r in (("a/b", 2), ("a/b", 4), ("a b", 2))
            ],
            1,
            True,
            id="rates, alike names",
        ),
    ],
)
@pytest.mark.filterwarnings("error::UserWarning")  # Matplotlib warns where a figure has no room for its labels.
def test_odd_results_are_drawn_too(make_results, tmp_path, runs, instances, judged):
    folder = make_results(tmp_path, runs, instances=instances, judged=judged)
    written = write_report(folder)
    assert len(set(written)) == len(written)
    assert all(path.stat().st_size > 0 for path in written)
    assert all(_colours(path) > 20 for path in written if path.suffix == ".png")
    assert (folder / "plots" / "goodput.svg").exists() == (len({run.get("rate") for run in runs}) > 1)
    assert not re.search(r"\bnan\b", re.sub(r"<script.*?</script>", "", written[-1].read_text(), flags=re.DOTALL))


def test_a_run_in_which_every_request_fails_on_arrival_has_a_page_and_a_time_line(tmp_path):
    """Nothing ever runs, so there is no ``iterations.parquet``."""
    file = tmp_path / "none.yaml"
    file.write_text(
        "name: none\nworkload: {trace: azure_conv_2023, duration: 5s}\nmodel: llama-3.1-8b\n"
        "cluster: {instances: [{hardware: h100_sxm, scheduler: vllm, max_model_len: 2}]}\n",
        encoding="utf-8",
    )
    folder = run_experiment(load_experiment(file), tmp_path).folder
    assert not (folder / "iterations.parquet").exists()
    page = write_report(folder)[-1].read_text(encoding="utf-8")
    assert "No request completed." in page and "exceed the context limit of 2" in page
    (path,) = write_timelines(folder)
    assert "failed #0" in gzip.decompress(path.read_bytes()).decode()


def test_where_nothing_can_be_written_it_says_so(make_results, tmp_path):
    folder = make_results(tmp_path, [{"name": "a", "requests": 20}], instances=1)
    (folder / "plots").write_text("in the way")
    with pytest.raises(InputError, match="the report cannot be written") as caught:
        write_report(folder)
    assert caught.value.where == str(folder / "plots")


def test_importing_the_report_loads_nothing_heavy():
    code = "import sys, simulator.report, simulator.report.table; print([m for m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("'matplotlib'", "'pandas'", "'pyarrow'", "'plotly'"):
        assert heavy not in loaded
