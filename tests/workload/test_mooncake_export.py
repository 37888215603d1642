"""What is written as Mooncake JSON Lines comes back, prefixes included."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.workload.describe import shared_tokens
from simulator.workload.readers import read_trace, write_mooncake
from simulator.workload.table import PrefixTable, Workload

TRACES = Path(__file__).parents[2] / "../shared/traces"


def same(a, b) -> bool:
    return (a is None) == (b is None) and (a is None or np.array_equal(a, b))


@st.composite
def workloads(draw):
    count = draw(st.integers(1, 12))
    column = lambda low, high: np.array(draw(st.lists(st.integers(low, high), min_size=count, max_size=count)))  # noqa: E731
    arrival = np.sort(column(0, 10**16))
    prompt = column(1, 3000)
    prefix = None
    if draw(st.booleans()):
        blocks = -(-prompt // 512)
        offsets = np.concatenate(([0], np.cumsum(blocks)))
        ids = np.array(draw(st.lists(st.integers(0, 2**40), min_size=int(offsets[-1]), max_size=int(offsets[-1]))))
        ends = np.concatenate([np.minimum(np.arange(1, n + 1) * 512, p) for n, p in zip(blocks, prompt, strict=True)])
        prefix = PrefixTable(offsets, ids, ends)
    dressed = draw(st.booleans())
    return Workload("w", "test", arrival - arrival[0], prompt, column(1, 500), prefix=prefix,
                    priority=column(-3, 3) if dressed else None)  # fmt: skip


@given(workloads())
def test_round_trip_keeps_every_column_to_the_picosecond(tmp_path_factory, workload):
    path = tmp_path_factory.mktemp("export") / "w.jsonl"
    write_mooncake(workload, path)
    back = read_trace(path)
    for column in ("arrival_ps", "prompt_tokens", "output_tokens", "priority", "client", "session"):
        assert same(getattr(back, column), getattr(workload, column)), column
    assert (back.prefix is None) == (workload.prefix is None)
    if workload.prefix is not None:
        for column in ("offsets", "ids", "end_tokens"):
            assert same(getattr(back.prefix, column), getattr(workload.prefix, column)), column


def test_clients_sessions_and_models_survive(tmp_path):
    two = np.array([0, 5])
    by = {"client": np.array([1, 0]), "clients": ("ann", "bob"), "session": two, "model": np.array([1, 0]),
          "models": ("large", "small")}  # fmt: skip
    workload = Workload("w", "test", two, two + 1, two + 1, **by)
    write_mooncake(workload, tmp_path / "w.jsonl")
    back = read_trace(tmp_path / "w.jsonl")
    assert [back.clients[i] for i in back.client] == ["bob", "ann"]
    assert [back.models[i] for i in back.model] == ["small", "large"]
    assert back.session[0] != back.session[1]


def test_prefixes_between_block_ends_keep_their_whole_blocks(tmp_path):
    # Both begin with the same 1,200 tokens: two whole blocks, and 176 tokens that no block can name.
    prefix = PrefixTable(np.array([0, 1, 2]), np.array([7, 7]), np.array([1200, 1200]))
    times = np.array([0, 1])
    workload = Workload("w", "test", times, np.array([2000, 1300]), np.array([1, 1]), prefix=prefix)
    assert shared_tokens(workload).tolist() == [0, 1200]
    write_mooncake(workload, tmp_path / "w.jsonl")
    back = read_trace(tmp_path / "w.jsonl")
    assert shared_tokens(back).tolist() == [0, 1024]
    assert np.diff(back.prefix.offsets).tolist() == [4, 3]


@pytest.mark.skipif(not TRACES.is_dir(), reason="the shared traces are not here")
def test_the_real_trace_is_written_back_the_same(tmp_path):
    workload = read_trace(TRACES / "mooncake_conversation.jsonl")
    write_mooncake(workload, tmp_path / "copy.jsonl")
    assert (tmp_path / "copy.jsonl").read_bytes() == (TRACES / "mooncake_conversation.jsonl").read_bytes()


def test_a_closed_loop_is_written_at_time_0(tmp_path):
    from simulator.workload.table import ClosedLoop

    times = np.array([0, 0])
    workload = replace(Workload("w", "t", times, times + 5, times + 5), closed_loop=ClosedLoop(2))
    write_mooncake(workload, tmp_path / "w.jsonl")
    assert read_trace(tmp_path / "w.jsonl").arrival_ps.tolist() == [0, 0]
