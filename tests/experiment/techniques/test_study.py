"""The study of techniques: gains over the baseline, known figures beside ours, and the page that shows them."""

from pathlib import Path

import pytest

from simulator.cli.main import main
from simulator.core.data import data_dir
from simulator.experiment.load import load_experiment
from simulator.experiment.technique_study.ffn_shares import ffn_shares
from simulator.experiment.technique_study.loads import compare, experiments
from simulator.experiment.technique_study.prefix_hits import hit_rates, replayed_hits
from simulator.experiment.technique_study.steps import BATCHES, step_gains
from simulator.experiment.techniques.registry import TECHNIQUES
from simulator.workload.readers import read_trace

TRACE = Path(__file__).parents[3] / "../shared/traces/mooncake_conversation.jsonl"
SMALL = """\
# Two lines
# of title.
workload:
  arrivals: {process: poisson, rate: 1/s}
  prompt: {distribution: fixed, tokens: 2000}
  output: {distribution: fixed, tokens: 40}
  requests: 12
model: llama-3.1-8b
cluster:
  instances: [{hardware: h100_sxm}]
sweep:
  workload.arrivals.rate: [1/s, 20/s]
compare:
  baseline: {}
  fp8: {techniques: [quantization]}
  short: {techniques: [{name: prompt_pruning, share: 0.5, scorer: null}]}
"""


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def shipped(name):
    return data_dir("experiments") / "techniques" / f"{name}.yaml"


def test_gains_are_the_baselines_latency_over_the_variants(small):
    found = compare(small)
    assert (found.name, found.title, found.loads) == ("small", "Two lines of title.", ["1/s", "20/s"])
    assert found.techniques == {"baseline": [], "fp8": ["quantization"], "short": ["prompt_pruning"]}
    assert found.gains("baseline") == [(1.0, 1.0, 1.0)] * 2
    base, variant = found.variants["baseline"][0], found.variants["fp8"][0]
    assert found.gains("fp8")[0] == (base.ttft / variant.ttft, base.tpot / variant.tpot, base.e2e / variant.e2e)
    assert min(found.gains("fp8")[0]) > 1.1


def test_iterations_are_those_of_what_changes_the_model_or_the_engine(small):
    gains = step_gains(small)
    assert set(gains) == {"fp8"} and len(gains["fp8"].long.by_batch) == len(BATCHES)
    assert gains["fp8"].long.by_batch[0] > 1.2 and gains["fp8"].prompt > 1.2


def test_w4a16_gains_nothing_once_flops_bind():
    gains = step_gains(shipped("quantization"))["w4a16"]
    assert gains.short.by_batch[0] > 2 and gains.short.by_batch[-1] == pytest.approx(1, abs=0.05)
    assert gains.short.none_from < BATCHES[-1]
    assert gains.prompt == pytest.approx(1, abs=0.05)


def test_a_mixtures_gain_vanishes_with_the_batch():
    gains = step_gains(shipped("mixture_of_experts"))["8 parts"]
    assert gains.short.by_batch[0] > 1.5 > 1.1 > gains.short.by_batch[2]


def test_speculation_loses_beyond_the_ridge():
    gains = step_gains(shipped("speculative"))["4 tokens"].short
    assert gains.by_batch[0] > 1.2 and gains.by_batch[-1] < 1
    # A step verifies five tokens a request; the H100's ridge is at 275.
    assert 275 < 5 * gains.none_from < 4 * 275


def test_compression_shortens_the_first_tokens_wait_at_low_load():
    ttft, tpot, _ = compare(shipped("prompt_compression")).gains("compressed")[0]
    # Less than the prompt shrinks: launching the layers of an iteration without a graph takes a while at any length.
    assert ttft > 1.1 > 1.05 > tpot


def test_ffn_shares_are_the_surveys_and_the_models_own():
    small, large = ffn_shares()
    assert (round(small.repeats, 4), round(large.repeats, 4)) == (0.6301, 0.7169) == (small.published, large.published)
    # Of 6.738 and 68.98 billion weights.
    assert (round(small.weights, 4), round(large.weights, 4)) == (0.6424, 0.8173)


def test_a_replay_forgets_what_was_longest_unused(tmp_path):
    def line(time, *ids):
        return (
            f'{{"timestamp": {time}, "input_length": {512 * len(ids)}, "output_length": 1, "hash_ids": {list(ids)}}}\n'
        )

    file = tmp_path / "trace.jsonl"
    file.write_text(line(0, 1, 2) + line(1, 3) + line(2, 1, 2) + line(3, 1, 2, 4))
    workload = read_trace(file)
    assert replayed_hits(workload, 3) == 4 / 8
    # Of two blocks, the second request drops 2, which is of no use without 1; the third finds 1, the fourth both.
    assert replayed_hits(workload, 2) == 3 / 8


@pytest.mark.skipif(not TRACE.exists(), reason="the Mooncake trace is not here")
def test_a_simulated_cache_hits_as_a_replay_does():
    for rate in hit_rates(TRACE, sizes=(2000, 20_000), requests=4000):
        assert rate.simulated == pytest.approx(rate.replayed, abs=0.02)
        assert rate.replayed > 0.04


def test_the_page_shows_every_variant_and_says_what_is_where(small, tmp_path):
    out = tmp_path / "page.md"
    with pytest.raises(SystemExit) as end:
        main(["techniques", "report", "--out", str(out), "--experiments", str(small.parent)])
    assert not end.value.code
    page = out.read_text()
    assert "| small: fp8 | " in page and "small: short" not in page
    assert "| baseline, ms | " in page and "Two lines of title." in page
    assert "| llama-2-70b | 71.69% | 71.69% | 81.73% |" in page
    assert all(f"### {name}\n" in page for name in ("quantization", "rag"))


def test_the_shipped_page_has_every_technique():
    page = (Path(__file__).parents[3] / "docs/techniques.md").read_text()
    assert [name for name in TECHNIQUES.names() if f"\n### {name}\n" not in page] == []
    for path in experiments():
        assert all(f"| {variant} |" in page for variant in list(load_experiment(path).base.compare)[1:]), path.name


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--experiments", "nowhere"], "no experiments"),
        (["--trace", "nowhere.jsonl"], "no such file"),
    ],
)
def test_a_mistake_is_one_message(words, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as end:
        main(["techniques", "report", "--out", str(tmp_path / "page.md"), *words])
    assert end.value.code == 2 and message in capsys.readouterr().err
