"""A queue by rank whose members change rank and leave from anywhere."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.core import Request
from simulator.scheduling.rank_heap import RankHeap

REQUESTS = [Request(index, 0, 1, 1) for index in range(8)]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(-1, 5)), max_size=400))
def test_the_first_is_the_smallest_of_those_that_are_in(steps):
    heap, truth = RankHeap(), {}
    for index, rank in steps:
        request = REQUESTS[index]
        if rank < 0:
            heap.drop(request)
            truth.pop(request, None)
        else:
            heap.put(request, (rank,))
            truth[request] = rank
        assert heap.first() == min(truth, key=lambda r: (truth[r], r.index), default=None)
        assert len(heap) == len(truth)
        assert set(heap) == set(truth)
        assert all(heap.rank(member) == (rank,) for member, rank in truth.items())


def test_stale_entries_do_not_pile_up():
    heap = RankHeap()
    for rank in range(10_000):
        heap.put(REQUESTS[rank % 2], (rank,))
    assert len(heap._heap) < 200
