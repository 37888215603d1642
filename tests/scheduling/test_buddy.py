"""The buddy allocator: pieces of a power of two, split and merged."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.core import Request
from simulator.scheduling.buddy import BuddyReservations
from simulator.scheduling.reservations import Reservations, reserved_tokens


def requests(count):
    return [Request(index, 0, 1, 1) for index in range(count)]


def test_a_piece_is_rounded_up_to_a_power_of_two():
    buddy, (first, second, third) = BuddyReservations(16), requests(3)
    assert buddy.take(first, 5)
    assert buddy.free == 8
    assert buddy.take(second, 4)
    # 4 are left in one piece, so 5 don't fit though plain counting would leave 16 - 5 - 4 = 7.
    assert not buddy.take(third, 5)
    assert buddy.take(third, 3)


def test_free_memory_in_pieces_that_are_no_buddies_is_no_larger_piece():
    buddy, pieces, more = BuddyReservations(16), requests(4), Request(9, 0, 1, 1)
    assert all(buddy.take(request, 4) for request in pieces)
    buddy.give_back(pieces[1])
    buddy.give_back(pieces[2])
    assert buddy.free == 8
    assert not buddy.take(more, 8)
    buddy.give_back(pieces[0])
    assert buddy.take(more, 8)


def test_memory_that_is_no_power_of_two_is_several_pieces():
    # vLLM's paper: 15,700 slots on one A100 of 40 GB. 8192 + 4096 + 2048 + ... hold seven sequences of 2,048.
    buddy = BuddyReservations(15_700)
    assert sum(buddy.take(request, 2048) for request in requests(10)) == 7


def test_what_is_larger_than_every_piece_runs_alone():
    buddy, (large, small) = BuddyReservations(12), requests(2)
    assert buddy.take(small, 1)
    assert not buddy.take(large, 9)
    buddy.give_back(small)
    assert buddy.take(large, 9)
    assert buddy.free == 0
    assert not buddy.take(small, 1)
    buddy.give_back(large)
    assert buddy.take(small, 8)


@given(st.integers(1, 200), st.lists(st.integers(1, 60), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_pieces_never_overlap_and_all_comes_back(total, sizes, random):
    buddy, held = BuddyReservations(total), []
    for index, size in enumerate(sizes):
        request = Request(index, 0, 1, 1)
        if buddy.take(request, min(size, total)):
            held.append(request)
        places = [buddy._pieces[each] for each in held]
        slots = [at + n for order, at in filter(None, places) for n in range(1 << order)]
        assert len(slots) == len(set(slots))
        assert all(0 <= slot < total for slot in slots)
        assert buddy.free == total - (len(slots) if None not in places else total)
        if held and random.random() < 0.5:
            buddy.give_back(held.pop(random.randrange(len(held))))
    for request in held:
        buddy.give_back(request)
    assert (buddy.free, buddy._free) == (total, BuddyReservations(total)._free)


def test_counted_memory_fits_as_long_as_the_sum_does():
    memory, (first, second, third) = Reservations(10), requests(3)
    assert memory.take(first, 5)
    assert memory.take(second, 5)
    assert not memory.take(third, 1)
    memory.give_back(first)
    memory.give_back(first)
    assert memory.free == 5
    assert memory.take(third, 5)
    assert third in memory


def test_the_three_variants_of_vllms_paper():
    request = Request(0, 0, 100, 65)
    assert reserved_tokens(request, "max", 2048) == 2048
    assert reserved_tokens(request, "pow2", 2048) == 100 + 128
    assert reserved_tokens(request, "oracle", 2048) == 165
    assert reserved_tokens(Request(0, 0, 2000, 64), "pow2", 2048) == 2064
    assert reserved_tokens(Request(0, 0, 2000, 64), "max", 2048) == 2064
