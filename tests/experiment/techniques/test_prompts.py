"""Techniques on prompts: how long prompts get, what making them so costs, what it helps."""

import numpy as np
import pytest
from support.techniques import SPLIT, assembled, experiment, simulated

from simulator.core import InputError
from simulator.experiment.metrics import RequestTable

PS = 10**12


def prompts(*techniques, **changes):
    return sorted(request.prompt_tokens for request in simulated(experiment(list(techniques), **changes)))


def median(requests, name):
    return float(np.nanmedian(getattr(RequestTable.of(requests), name)()))


BASE = prompts()


def test_compression_divides_prompts_by_the_ratio():
    short = prompts({"name": "prompt_compression", "ratio": 3})
    assert short == [-(-tokens // 3) for tokens in BASE]


def test_pruning_keeps_the_instruction_and_a_share_of_the_rest():
    short = prompts({"name": "prompt_pruning", "share": 0.5, "keep": 100})
    assert short == [min(n, 100) + -(-max(n - 100, 0) // 2) for n in BASE]


def test_a_soft_prompt_takes_the_place_of_the_prefix():
    short = prompts({"name": "soft_prompt", "prefix": 100, "tokens": 10})
    assert short == [n - 90 if n > 100 else -(-n // 10) for n in BASE]


def test_passages_are_added_or_replace_a_document():
    assert prompts({"name": "rag", "chunks": 3, "chunk_tokens": 100}) == [n + 300 for n in BASE]
    short = prompts({"name": "rag", "chunks": 3, "chunk_tokens": 100, "question": 50})
    assert short == [min(n, 350) for n in BASE]


def test_retrieval_counts_in_the_time_to_the_first_token():
    without, with_it = (
        simulated(experiment([{"name": "rag", "retrieval": retrieval}])) for retrieval in ("0ms", "30ms")
    )
    # All requests come 30 ms later, and nothing else is different.
    assert median(with_it, "ttft_ms") == pytest.approx(median(without, "ttft_ms") + 30)
    assert [r.first_token_at - r.arrival for r in with_it] == [r.first_token_at - r.arrival for r in without]


def test_clients_of_a_closed_loop_wait_for_retrieval():
    loop = {
        "arrivals": {"process": "closed_loop", "concurrency": 1, "think": "0ms"},
        "prompt": {"distribution": "fixed", "tokens": 100},
        "output": {"distribution": "fixed", "tokens": 5},
        "requests": 4,
    }
    requests = simulated(experiment([{"name": "rag", "retrieval": "30ms"}], workload=loop))
    ends = [0, *(request.finished_at for request in requests)]
    assert [r.arrival for r in requests] == [end + 30 * PS // 1000 for end in ends[:-1]]


def test_compression_helps_the_first_token_and_not_those_after_it():
    slow = {
        "arrivals": {"process": "poisson", "rate": "0.2/s"},
        "requests": 20,
        "prompt": {"distribution": "fixed", "tokens": 4000},
        "output": {"distribution": "fixed", "tokens": 50},
    }
    base, short = (simulated(experiment(each, workload=slow)) for each in ([], ["prompt_compression"]))
    assert median(short, "ttft_ms") < 0.6 * median(base, "ttft_ms")
    assert 0.95 * median(base, "tpot_ms") < median(short, "tpot_ms") <= median(base, "tpot_ms")


def test_the_compressor_takes_time_where_it_runs():
    def ttft(**params):
        return median(simulated(experiment([{"name": "prompt_compression", **params}])), "ttft_ms")

    free, same, own = ttft(compressor=None), ttft(), ttft(runs_on="own")
    assert free < own < same  # on its own GPU it keeps no one else's prompt waiting


def test_the_compressor_takes_memory_only_where_prompts_are_computed():
    def blocks(technique):
        return [kind["kv_blocks"] for kind in assembled(technique, instances=SPLIT).kinds]

    prefill, decode = blocks(["prompt_compression"])
    assert decode == blocks([])[1]
    assert blocks([])[0] - prefill == pytest.approx(1.24e9 * 2 / (16 * 131072), rel=0.01)


def test_a_reader_as_large_as_the_model_is_refused():
    with pytest.raises(InputError, match=r"techniques\[0\].*is no smaller than llama-3.1-8b"):
        assembled([{"name": "prompt_compression", "compressor": "llama-3.1-70b"}])


def test_two_ways_of_shortening_prompts_are_refused():
    with pytest.raises(InputError, match="both change the length of the prompts"):
        assembled(["prompt_compression", "prompt_summary"])


def test_a_summary_waits_for_its_writer_and_shares_no_prefix():
    groups = {"arrivals": {"process": "poisson", "rate": "5/s"}, "requests": 10,
              "prompt": {"distribution": "fixed", "tokens": 1000}, "output": {"distribution": "fixed", "tokens": 5},
              "prefix": {"kind": "groups", "groups": 1, "tokens": 500}}  # fmt: skip
    requests = simulated(experiment(["prompt_summary"], workload=groups))
    assert {r.prompt_tokens for r in requests} == {256} and all(not r.segments for r in requests)
    # A billion weights in 16 bit are read for each of 256 tokens, at 3.35 TB/s at most.
    assert all(request.lead > 256 * 2.4e9 / 3.35e12 * PS for request in requests)
