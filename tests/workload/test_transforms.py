"""Prompts made longer or shorter keep what they share; a lead delays requests, and latencies count it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from simulator.workload.table import ClosedLoop, PrefixTable, Workload
from simulator.workload.transforms import map_prompts, with_lead


def workload(arrivals, prompts, prefix=None, loop=None):
    columns = [np.array(each, np.int64) for each in (arrivals, prompts, [1] * len(prompts))]
    return Workload("made up", "by hand", *columns, prefix=prefix, closed_loop=loop)


def table(*rows):
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows])))
    segments = [segment for row in rows for segment in row]
    ids, ends = zip(*segments, strict=True) if segments else ((), ())
    return PrefixTable(offsets, np.array(ids, np.int64), np.array(ends, np.int64))


def rows_of(found):
    pairs = list(zip(found.ids.tolist(), found.end_tokens.tolist(), strict=True))
    return [pairs[low:high] for low, high in zip(found.offsets[:-1], found.offsets[1:], strict=True)]


def test_what_prompts_share_shrinks_with_them():
    shared = table([(1, 400), (2, 900)], [], [(1, 400)])
    short = map_prompts(workload([0, 1, 2], [1000, 10, 500], shared), lambda n: -(-n // 4))
    assert short.prompt_tokens.tolist() == [250, 3, 125]
    assert rows_of(short.prefix) == [[(1, 100), (2, 225)], [], [(1, 100)]]


def test_segments_that_become_equally_long_are_one():
    short = map_prompts(workload([0], [30], table([(1, 10), (2, 11), (3, 30)])), lambda n: n // 10)
    assert rows_of(short.prefix) == [[(1, 1), (3, 3)]]


def test_a_prompt_keeps_a_token():
    assert map_prompts(workload([0], [3]), lambda n: n // 10).prompt_tokens.tolist() == [1]


@given(
    st.lists(st.lists(st.integers(1, 60), unique=True, max_size=6).map(sorted), min_size=1, max_size=8),
    st.integers(1, 9),
)
def test_segments_stay_in_order_and_within_their_prompt(ends, by):
    prompts = [(row[-1] if row else 1) + 3 for row in ends]
    made = table(*[[(index, end) for index, end in enumerate(row)] for row in ends])
    short = map_prompts(workload(range(len(ends)), prompts, made), lambda n: -(-n // by))
    for prompt, row in zip(short.prompt_tokens.tolist(), rows_of(short.prefix), strict=True):
        found = [end for _, end in row]
        assert found == sorted(set(found)) and all(0 < end <= prompt for end in found)


def test_a_lead_delays_and_overtakes():
    late = with_lead(workload([0, 10, 20], [5, 6, 7]), np.array([30e-12, 0.0, 0.0]))
    assert late.arrival_ps.tolist() == [10, 20, 30]
    assert late.prompt_tokens.tolist() == [6, 7, 5]
    assert late.lead_ps.tolist() == [0, 0, 30]
    later = with_lead(late, np.full(3, 5e-12))
    assert (later.arrival_ps - later.lead_ps).tolist() == [10, 20, 0]


def test_a_closed_loop_has_no_times_to_delay():
    loop = with_lead(workload([0, 0], [5, 6], loop=ClosedLoop(1)), np.array([7e-12, 0.0]))
    assert loop.arrival_ps.tolist() == [0, 0] and loop.lead_ps.tolist() == [7, 0]
