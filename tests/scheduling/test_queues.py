"""Waiting queues: first come first served, and by a key."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.core import Request
from simulator.scheduling.queues import ArrivalQueue, KeyQueue


def request(index, *, arrival=0, priority=0):
    return Request(index, arrival, 10, 10, priority=priority)


def drained(queue):
    """Return the indices of a queue's requests in the order they come out."""
    return [queue.pop().index for _ in range(len(queue))]


def test_first_come_first_served_but_the_preempted_first():
    queue = ArrivalQueue()
    for index in range(3):
        queue.push(request(index))
    queue.push_front(request(9))
    assert queue.peek().index == 9
    assert drained(queue) == [9, 0, 1, 2]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.booleans())))
def test_smallest_key_first_ties_by_arrival_the_preempted_as_any_other(rows):
    queue = KeyQueue(lambda r: r.priority)
    requests = [request(i, arrival=arrival, priority=priority) for i, (arrival, priority, _) in enumerate(rows)]
    for each, (_, _, front) in zip(requests, rows, strict=True):
        (queue.push_front if front else queue.push)(each)
    expected = [r.index for r in sorted(requests, key=lambda r: (r.priority, r.arrival, r.index))]
    assert not rows or queue.peek().index == expected[0]
    assert drained(queue) == expected


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1))
def test_keys_that_changed_count_after_rekey(keys):
    queue = KeyQueue(lambda r: r.priority)
    requests = [request(i, priority=before) for i, (before, _) in enumerate(keys)]
    for each in requests:
        queue.push(each)
    for each, (_, after) in zip(requests, keys, strict=True):
        each.priority = after
    queue.rekey()
    assert drained(queue) == [r.index for r in sorted(requests, key=lambda r: (r.priority, r.index))]
