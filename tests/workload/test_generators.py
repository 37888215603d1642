"""Generated requests have the rates, variations and shapes their section names, each purpose from its own stream."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.worlds import table

from simulator.core.errors import InputError
from simulator.workload.build import build
from simulator.workload.describe import shared_tokens, summarise
from simulator.workload.generators.models import ask_for_models
from simulator.workload.spec import WorkloadSpec

HERE = Path(__file__).parent
FIXED = {"distribution": "fixed", "tokens": 100}
POISSON = {"process": "poisson", "rate": "5/s"}

PROCESSES = {
    "poisson": POISSON,
    "gamma": {"process": "gamma", "rate": "5/s", "cv": 2.0},
    "on_off": {"process": "on_off", "rate": "9/s", "on": "3s", "off": "2s"},
    "piecewise": {"process": "piecewise", "steps": [{"duration": "7s", "rate": "3/s"}]},
    "counts": {"process": "counts", "counts": [3, 0, 9], "cv": 1.0},
}


def made(seed: int = 1, **section):
    section = {"arrivals": POISSON, "prompt": FIXED, "output": FIXED, **section}
    return build(WorkloadSpec.model_validate(section), seed, HERE)


def seconds(workload) -> np.ndarray:
    return workload.arrival_ps / 1e12


def test_constant_arrivals_are_clockwork_and_stop_before_the_end():
    workload = made(arrivals={"process": "constant", "rate": "3/s"}, duration="2s")
    assert workload.arrival_ps.tolist() == [round(n * 1e12 / 3) for n in range(6)]


@pytest.mark.parametrize(("process", "cv"), [({"process": "poisson", "rate": "5/s"}, 1.0),
                                             ({"process": "gamma", "rate": "5/s", "cv": 0.3}, 0.3),
                                             ({"process": "gamma", "rate": "5/s", "cv": 3.0}, 3.0)])  # fmt: skip
def test_renewal_processes_keep_rate_and_variation(process, cv):
    summary = summarise(made(arrivals=process, requests=100_000))
    assert summary.rate == pytest.approx(5, rel=4 * cv / np.sqrt(100_000) + 1e-4)
    assert summary.gap_cv == pytest.approx(cv, rel=0.06)


def test_bursts_come_on_and_off():
    arrivals = {"process": "on_off", "rate": "100/s", "on": "10s", "off": "50s", "idle_rate": "1/s"}
    phase = seconds(made(arrivals=arrivals, duration="1h")) % 60
    assert np.count_nonzero(phase < 10) == pytest.approx(60 * 1000, rel=0.03)
    assert np.count_nonzero(phase >= 10) == pytest.approx(60 * 50, rel=0.1)


def test_silence_between_bursts_is_silent():
    arrivals = {"process": "on_off", "rate": "100/s", "on": "1s", "off": "9s"}
    assert (seconds(made(arrivals=arrivals, requests=2000)) % 10 <= 1).all()


def test_piecewise_rates_repeat_with_the_given_variation():
    steps = [{"duration": f"{width}s", "rate": f"{rate}/s"} for width, rate in ((10, 10), (10, 0), (20, 40))]
    workload = made(arrivals={"process": "piecewise", "steps": steps, "cv": 0.0}, duration="80s")
    counts = np.bincount((seconds(workload) // 10).astype(int))
    assert counts.tolist() == pytest.approx([100, 0, 400, 400, 100, 0, 400, 400], abs=1)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=8).filter(any), st.sampled_from([0.0, 0.5, 1.0, 4.0]),
       st.floats(0.01, 1), st.integers(1, 3))  # fmt: skip
def test_counts_are_met_exactly_in_every_round(counts, cv, last, rounds):
    span = 60 * (len(counts) - 1) + 60 * last
    arrivals = {"process": "counts", "counts": counts, "span": f"{span!r}s", "cv": cv}
    workload = made(arrivals=arrivals, requests=rounds * sum(counts))
    edges = np.concatenate([r * span + np.minimum(60.0 * np.arange(len(counts) + 1), span) for r in range(rounds)])
    # A round's last edge is the next one's first: between them nothing can be.
    got = np.diff(np.searchsorted(seconds(workload), edges))
    assert got[np.diff(edges) > 1e-6].tolist() == counts * rounds
    assert (np.diff(workload.arrival_ps) >= 0).all()


def test_a_closed_loop_has_no_times_but_a_concurrency():
    workload = made(arrivals={"process": "closed_loop", "concurrency": 8, "think": "250ms"}, requests=50)
    assert (workload.closed_loop.concurrency, workload.closed_loop.think_ps) == (8, 250_000_000_000)
    assert len(workload) == 50
    assert not workload.arrival_ps.any()


@settings(max_examples=30)
@given(st.sampled_from(sorted(PROCESSES)), st.integers(1, 400), st.integers(0, 2**32))
def test_a_longer_run_begins_with_the_shorter_one(process, requests, seed):
    arrivals = PROCESSES[process]
    long = made(seed, arrivals=arrivals, requests=401).arrival_ps
    assert np.array_equal(made(seed, arrivals=arrivals, requests=requests).arrival_ps, long[:requests])
    end = float(long[requests]) / 1e12
    early = made(seed, arrivals=arrivals, duration=f"{end + 1e-6!r}s").arrival_ps
    assert np.array_equal(early[:requests], long[:requests])


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.sets(st.sampled_from(["prefix", "clients", "priorities", "output"])))
def test_a_further_purpose_shifts_no_other_stream(seed, purposes):
    uniform = {"distribution": "uniform", "min": 1, "max": 5000}
    plain = made(seed, prompt=uniform, requests=200)
    extra = {
        "prefix": {"groups": 3, "tokens": 64, "share": 0.5},
        "clients": {"count": 4, "zipf": 1.0},
        "priorities": {0: 0.5, 1: 0.5},
        "output": {"distribution": "zipf", "exponent": 1.1, "max": 300},
    }
    rich = made(seed, **{"prompt": uniform, "requests": 200, **{key: extra[key] for key in purposes if key in extra}})
    assert np.array_equal(rich.arrival_ps, plain.arrival_ps)
    own = rich.prompt_tokens - (64 * np.diff(rich.prefix.offsets) if rich.prefix else 0)
    assert np.array_equal(own, plain.prompt_tokens)


def test_seeds_repeat_and_differ():
    uniform = {"distribution": "uniform", "min": 1, "max": 5000}
    first, again, other = (made(seed, prompt=uniform, requests=50) for seed in (3, 3, 4))
    assert np.array_equal(first.arrival_ps, again.arrival_ps)
    assert np.array_equal(first.prompt_tokens, again.prompt_tokens)
    assert not np.array_equal(first.arrival_ps, other.arrival_ps)
    assert not np.array_equal(first.prompt_tokens, other.prompt_tokens)


def test_length_distributions_have_their_shape():
    draws = {
        "uniform": {"distribution": "uniform", "min": 10, "max": 12},
        "lognormal": {"distribution": "lognormal", "median": 1000, "sigma": 0.8, "min": 4, "max": 8192},
        "zipf": {"distribution": "zipf", "exponent": 2.0, "min": 5, "max": 1000},
    }
    got = {name: made(prompt=spec, requests=200_000).prompt_tokens for name, spec in draws.items()}
    assert np.bincount(got["uniform"])[10:].tolist() == pytest.approx([66_667] * 3, rel=0.02)
    assert np.median(got["lognormal"]) == pytest.approx(1000, rel=0.01)
    inside = got["lognormal"][(got["lognormal"] > 4) & (got["lognormal"] < 8192)]
    assert np.log(inside).std() == pytest.approx(0.8, rel=0.03)
    assert got["lognormal"].max() == 8192
    assert np.count_nonzero(got["zipf"] == 5) / np.count_nonzero(got["zipf"] == 10) == pytest.approx(4, rel=0.1)
    assert got["zipf"].min() == 5


def test_a_histogram_draws_prompt_and_output_together():
    text = "# prompt_from prompt_to output_from output_to requests\n10 10 500 500 3\n2000 4000 1 8 1\n"
    workload = made(prompt=None, output=None, lengths={"histogram": text}, requests=40_000)
    short = workload.prompt_tokens == 10
    assert short.mean() == 0.75  # cells are dealt, not drawn
    assert (workload.output_tokens[short] == 500).all()
    assert workload.output_tokens[~short].max() == 8
    assert (workload.prompt_tokens[~short].min(), workload.prompt_tokens[~short].max()) == (2000, 4000)


def test_a_longer_run_keeps_the_lengths_and_groups_of_the_shorter_one():
    text = "10 90 500 900 3\n2000 4000 1 8 4\n"
    section = {"prompt": None, "output": None, "lengths": {"histogram": text}, "prefix": {"groups": 9, "tokens": 5}}
    short, long = (made(requests=requests, **section) for requests in (100, 1000))
    first = long.take(np.arange(100))
    assert np.array_equal(first.prompt_tokens, short.prompt_tokens)
    assert np.array_equal(first.output_tokens, short.output_tokens)
    assert np.array_equal(first.prefix.ids, short.prefix.ids)


def test_lengths_of_a_file_stay_pairs(tmp_path):
    (tmp_path / "pairs.csv").write_text("input_length,output_length\n1,10\n2,20\n3,30\n")
    spec = WorkloadSpec.model_validate({"arrivals": POISSON, "lengths": {"file": "pairs.csv"}, "requests": 500})
    workload = build(spec, 1, tmp_path)
    assert set(workload.prompt_tokens.tolist()) == {1, 2, 3}
    assert np.array_equal(workload.output_tokens, workload.prompt_tokens * 10)


def test_groups_share_a_prefix_that_comes_before_the_prompt():
    prefix = {"groups": 4, "tokens": 300, "share": 0.25, "zipf": 1.0}
    workload = made(prefix=prefix, requests=40_000)
    member = np.diff(workload.prefix.offsets).astype(bool)
    assert member.mean() == pytest.approx(0.25, abs=0.01)
    assert (workload.prompt_tokens[member] == 400).all()
    assert (workload.prompt_tokens[~member] == 100).all()
    sizes = np.bincount(workload.prefix.ids)
    assert len(sizes) == 4
    assert sizes[0] / sizes[3] == pytest.approx(4, rel=0.1)
    assert np.count_nonzero(shared_tokens(workload)) == np.count_nonzero(member) - 4


def test_conversations_grow_and_repeat_all_that_went_before():
    prefix = {"kind": "conversations", "turns": 3.0, "gap": "20s", "common": 50}
    lengths = {"distribution": "uniform", "min": 100, "max": 3000}
    workload = made(prompt=lengths, output=lengths, prefix=prefix, requests=5000)
    plain = made(prompt=lengths, output=lengths, requests=5000)
    assert np.array_equal(workload.arrival_ps, plain.arrival_ps)
    pairs = np.stack((plain.prompt_tokens, plain.output_tokens))
    traded = np.stack((workload.prompt_tokens, workload.output_tokens))
    assert np.array_equal(np.unique(pairs, axis=1), np.unique(traded, axis=1))
    assert len(workload) / len(set(workload.session.tolist())) == pytest.approx(3, rel=0.1)
    shared = shared_tokens(workload)
    last: dict[int, int] = {}
    for row, session in enumerate(workload.session.tolist()):
        begun = last.get(session)
        assert shared[row] == (begun if begun is not None else (50 if row else 0))
        last[session] = int(workload.prompt_tokens[row])
        ends = workload.prefix.end_tokens[workload.prefix.offsets[row] : workload.prefix.offsets[row + 1]]
        assert (np.diff(ends) > 0).all()
        assert ends[-1] == workload.prompt_tokens[row]


def test_clients_and_priorities_follow_their_weights():
    workload = made(clients={"count": 3, "zipf": 1.0}, priorities={0: 3.0, 5: 1.0}, requests=40_000)
    assert workload.clients == ("client-1", "client-2", "client-3")
    sent = np.bincount(workload.client)
    assert sent[0] / sent[2] == pytest.approx(3, rel=0.1)
    assert (workload.priority == 5).mean() == pytest.approx(0.25, abs=0.01)
    assert set(workload.priority.tolist()) == {0, 5}


def test_a_million_requests_take_about_a_second():
    start = time.process_time()
    workload = made(arrivals={"process": "gamma", "rate": "50/s", "cv": 2.0}, requests=1_000_000,
                    prompt={"distribution": "lognormal", "median": 1000, "sigma": 0.8, "max": 8192},
                    prefix={"groups": 10, "tokens": 500}, clients={"count": 20})  # fmt: skip
    assert time.process_time() - start < 1.5
    assert len(workload) == 1_000_000


@pytest.mark.parametrize(
    ("section", "words"),
    [({}, "nothing says how many requests to make"),
     ({"duration": "1000000d"}, "would make"),
     ({"requests": 10, "arrivals": {"process": "poisson", "rate": "1/h"}, "rate_scale": 1e-5}, "100 days"),
     ({"requests": 100_000, "arrivals": {"process": "poisson", "rate": "1/h"}}, "100 days"),
     ({"arrivals": {"process": "poisson", "rate": "1/h"}, "duration": "1ms"}, "no requests"),
     ({"lengths": {"file": "nowhere.csv"}, "prompt": None, "output": None, "requests": 1}, "no such trace file")],
)  # fmt: skip
def test_what_cannot_be_made_is_refused(section, words):
    with pytest.raises(InputError, match=words):
        made(**section)


def test_a_session_asks_for_one_model_and_shares_hold_over_requests():
    plain = replace(table([(n, 10, 10) for n in range(3000)]), session=np.repeat(np.arange(1000), 3))
    for workload in (plain, replace(plain, session=None)):
        asked = ask_for_models({"small": 0.8, "large": 0.2}, workload, np.random.default_rng(1))
        assert asked.models == ("small", "large")
        assert asked.model.mean() == pytest.approx(0.2, abs=0.04)
    by_session = ask_for_models({"small": 0.5, "large": 0.5}, plain, np.random.default_rng(1)).model.reshape(-1, 3)
    assert (by_session == by_session[:, :1]).all()
