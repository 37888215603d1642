"""The shipped fits: what they keep of the traces, how close, and that anyone can make them again."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from simulator.core.data import data_dir
from simulator.core.errors import InputError
from simulator.workload.build import build
from simulator.workload.describe import per_minute, plot_against, summarise
from simulator.workload.fit import fit
from simulator.workload.fitted import load_fitted, write_fitted
from simulator.workload.readers import read_trace
from simulator.workload.spec import WorkloadSpec
from simulator.workload.traces import fitted_names

TRACES = Path(__file__).parents[2] / "../shared/traces"
ORIGINALS = {
    "azure_conv_2023": "AzureLLMInferenceTrace_conv.csv",
    "azure_code_2023": "AzureLLMInferenceTrace_code.csv",
    "mooncake_conversation": "mooncake_conversation.jsonl",
}
needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="the shared traces are not here")


def replay(name, seed=1, **section):
    return build(WorkloadSpec.model_validate({"trace": name, **section}), seed, Path())


def test_the_shipped_fits_are_small_and_known():
    assert fitted_names() == sorted(ORIGINALS)
    for name in ORIGINALS:
        assert (data_dir("workloads") / f"{name}.yaml").stat().st_size < 60_000


@needs_traces
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", ORIGINALS)
def test_a_fit_is_close_to_its_trace(name, seed):
    trace, spec = read_trace(TRACES / ORIGINALS[name]), replay(name, seed)
    assert len(spec) == len(trace)
    assert np.abs(per_minute(spec) - per_minute(trace)).max() <= 3  # what falls on a minute's edge
    real, ours = summarise(trace), summarise(spec)
    assert ours.rate == pytest.approx(real.rate, rel=0.002)
    assert ours.gap_cv == pytest.approx(real.gap_cv, rel=0.05)
    for kind in ("prompt", "output", "total"):
        a, b = getattr(real, kind), getattr(ours, kind)
        assert b.mean == pytest.approx(a.mean, rel=0.015), kind
        for percentile, tolerance in ((50, 0.02), (90, 0.02), (99, 0.03)):
            assert b.percentiles[percentile] == pytest.approx(a.percentiles[percentile], rel=tolerance, abs=1), kind
        assert a.min <= b.min
        assert b.max <= a.max
    assert ours.prefix_share == pytest.approx(real.prefix_share, abs=0.02)
    together = [np.corrcoef(np.log(w.prompt_tokens), np.log(w.output_tokens))[0, 1] for w in (trace, spec)]
    assert together[1] == pytest.approx(together[0], abs=0.03)


@needs_traces
@pytest.mark.parametrize("name", ORIGINALS)
def test_the_command_makes_the_shipped_file_again(tmp_path, name):
    shipped = data_dir("workloads") / f"{name}.yaml"
    about = write_fitted(TRACES / ORIGINALS[name], tmp_path / shipped.name, date(2026, 11, 21)).about
    assert (tmp_path / shipped.name).read_text() == shipped.read_text()
    assert about.licence in ("CC-BY-4.0", "Apache-2.0")


def test_a_named_trace_needs_no_download_and_says_so():
    workload = replay("azure_conv_2023")
    assert len(workload) == 19366
    assert workload.name == "azure_conv_2023"
    assert "fitted to" in workload.source
    assert "seed 1" in workload.source


def test_a_named_trace_goes_on_beyond_its_hour_and_stops_when_told():
    day = replay("azure_conv_2023", duration="3h")
    assert len(day) == pytest.approx(19366 * 3 * 3600 / 3501.72, rel=0.02)
    assert day.arrival_ps[-1] < 3 * 3600 * 10**12
    hour = replay("azure_conv_2023")
    assert np.array_equal(day.arrival_ps[: len(hour)], hour.arrival_ps)
    assert len(replay("azure_conv_2023", requests=100_000)) == 100_000
    assert len(replay("azure_conv_2023", duration="10min", rate_scale=3.0)) == pytest.approx(9700, rel=0.1)


def test_a_users_own_fit_is_used_by_path(tmp_path):
    rows = "".join(f"{n * 0.5},{100 + n},{1 + n % 7}\n" for n in range(600))
    (tmp_path / "mine.csv").write_text("arrival_s,prompt_tokens,output_tokens\n" + rows)
    file = write_fitted(tmp_path / "mine.csv", tmp_path / "mine.yaml", date(2026, 1, 2))
    assert file.about.trace == "mine.csv"
    assert file.about.licence == "unknown"
    workload = build(WorkloadSpec(trace="mine.yaml"), 1, tmp_path)
    assert len(workload) == 600
    assert per_minute(workload).tolist() == [120] * 5
    assert summarise(workload).gap_cv < 0.2  # the trace is clockwork, and its fit stays nearly so
    assert load_fitted(tmp_path / "mine.yaml").workload == file.workload


@pytest.mark.parametrize(("text", "words"), [("a: [", "not YAML"), ("about: 3\n", "about"), ("a: {}\n", "about")])
def test_a_file_that_is_no_fit_is_refused(tmp_path, text, words):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        load_fitted(tmp_path / "bad.yaml")


def test_a_trace_without_times_cannot_be_fitted(tmp_path):
    (tmp_path / "t.csv").write_text("arrival_s,prompt_tokens,output_tokens\n0,1,1\n0,1,1\n")
    with pytest.raises(InputError, match="arrive at different times"):
        fit(read_trace(tmp_path / "t.csv"))


def test_the_picture_is_drawn(tmp_path):
    workload = replay("azure_code_2023", limit=200)
    plot_against(workload, workload, tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
