"""The decode set's aggregates against sums over its members."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.core import Request
from simulator.engine.decode_set import NEVER, DecodeSet
from simulator.engine.ledger import Ledger


class Member:
    """A decoding request the obvious way: what it has computed and made, counted up every iteration."""

    def __init__(self, request, iteration):
        self.computed = request.computed
        self.generated = request.generated
        self.left = request.output_tokens - request.generated
        self.joined = iteration


def opened(members, size, start, count):
    """Return the blocks that members open in ``count`` iterations, ``start`` iterations from now."""
    return sum((m.computed + step) % size == 0 for m in members for step in range(start, start + count))


actions = st.lists(
    st.tuples(st.sampled_from(["add", "add", "run", "run", "remove", "readd"]), st.integers(0, 60), st.integers(1, 40)),
    max_size=40,
)


@given(st.integers(1, 17), actions, st.integers(0, 12))
def test_aggregates_are_sums_over_members(size, actions, free):
    expected_spans = []
    ledger = Ledger()
    decodes = DecodeSet(size, ledger.add_packed_span)
    members, away, made = {}, [], 0

    def leave(request):
        member = members.pop(request)
        assert (request.computed, request.generated) == (member.computed, member.generated)
        if member.joined < decodes.iteration:
            expected_spans.append([request.index, member.joined, decodes.iteration - 1, 1])

    def join(request):
        members[request] = Member(request, decodes.iteration)
        decodes.add(request)

    for action, number, other in actions:
        if action == "add":
            request = Request(made, 0, number + 1, other + 1)
            request.computed, request.generated = number + 1, 1
            made += 1
            join(request)
        elif action == "remove" and members:
            request = list(members)[number % len(members)]
            decodes.remove(request)
            leave(request)
            away.append(request)
        elif action == "readd" and away:
            join(away.pop(number % len(away)))
        elif action == "run" and members:
            # As an engine does, never beyond the next finish.
            count = min(other, min(member.left for member in members.values()))
            decodes.iteration += count
            for member in members.values():
                member.computed += count
                member.generated += count
                member.left -= count
            done = decodes.pop_finished()
            assert {request.index for request in done} == {r.index for r, member in members.items() if member.left == 0}
            for request in done:
                assert request.generated == request.output_tokens
                leave(request)

        everybody = list(members.values())
        assert len(decodes) == len(members)
        assert set(decodes) == set(members)
        assert decodes.context == sum(member.computed + 1 for member in everybody)
        assert decodes.longest == max((member.computed + 1 for member in everybody), default=0)
        assert decodes.blocks_next() == opened(everybody, size, 0, 1)
        assert all(decodes.crosses(request) == (member.computed % size == 0) for request, member in members.items())
        for start, count in ((0, number), (other, number), (other, 1)):
            needed = opened(everybody, size, start, count)
            assert decodes.blocks_needed(decodes.iteration + start, count) == needed
            fits = decodes.iterations_that_fit(decodes.iteration + start, free, count)
            assert fits == max(n for n in range(count + 1) if opened(everybody, size, start, n) <= free)
        left = min((member.left for member in everybody), default=None)
        assert decodes.next_finish == (NEVER if left is None else decodes.iteration + left - 1)
    assert ledger.spans().tolist() == expected_spans


def test_the_longest_is_right_however_late_it_is_first_asked_for():
    decodes = DecodeSet(16, lambda *_: None)
    requests = []
    for index, tokens in enumerate([5, 50, 20]):
        request = Request(index, 0, tokens, 100)
        request.computed, request.generated = tokens, 1
        decodes.add(request)
        requests.append(request)
    decodes.iteration += 3
    decodes.remove(requests[1])
    assert decodes.longest == 20 + 1 + 3
    decodes.add(requests[1])
    assert decodes.longest == 50 + 1 + 3


def test_those_that_finish_together_are_heard_of_in_the_order_they_joined():
    decodes = DecodeSet(16, lambda *_: None)
    for index in (3, 1, 2):
        request = Request(index, 0, 10, 4)
        request.computed, request.generated = 10, 1
        decodes.add(request)
    decodes.iteration += 3
    assert [request.index for request in decodes.pop_finished()] == [3, 1, 2]
