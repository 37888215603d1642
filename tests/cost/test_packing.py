"""Packing: the bytes of each operation, counted on arrays that hold numbers packed as the format says."""

import numpy as np
import pytest

from simulator.cost.packing import STORED_BYTES, pack_bytes, unpack_bytes

GROUPS, GROUP, COLUMNS = 3, 64, 5
NUMBERS = GROUPS * GROUP * COLUMNS


class Memory:
    """Carries out operations, and counts what they read and write."""

    def __init__(self):
        self.moved = 0

    def do(self, operation, *read):
        written = operation(*read)
        self.moved += sum(each.nbytes for each in (*read, *(written if isinstance(written, tuple) else (written,))))
        return written

    def copy(self, target, source):
        target[...] = source
        self.moved += source.nbytes + target.nbytes


def pack(memory, numbers):
    """Extremes with their indices, four operations in 16 bit, one into bytes, and two halves joined."""
    least, _ = memory.do(lambda x: (x.min(1, keepdims=True), x.argmin(1, keepdims=True)), numbers)
    most, _ = memory.do(lambda x: (x.max(1, keepdims=True), x.argmax(1, keepdims=True)), numbers)
    scale = (15 / (most - least)).astype(np.float16)
    data = memory.do(lambda x, low: x - low, numbers, least)
    data = memory.do(lambda x, by: x * by, data, scale)
    data = memory.do(lambda x: x.clip(0, 15), data)
    data = memory.do(np.rint, data)
    data = memory.do(lambda x: x.astype(np.uint8), data)
    high = memory.do(lambda x: x << 4, data[:, ::2])
    return memory.do(lambda x, y: x | y, high, data[:, 1::2]), scale, least


def unpack(memory, packed, scale, least):
    """Two halves taken and copied to every other row, then one division and one addition."""
    data = np.empty((GROUPS, GROUP, COLUMNS), np.float16)
    memory.copy(data[:, ::2], memory.do(lambda x: x >> 4, packed))
    memory.copy(data[:, 1::2], memory.do(lambda x: x & 15, packed))
    data = memory.do(lambda x, by: (x / by).astype(np.float16), data, scale)
    return memory.do(lambda x, low: x + low, data, least)


def test_bytes_are_those_of_the_operations_that_pack_and_unpack():
    numbers = np.random.default_rng(0).normal(size=(GROUPS, GROUP, COLUMNS)).astype(np.float16)
    packing, unpacking = Memory(), Memory()
    packed, scale, least = pack(packing, numbers)
    assert sum(each.nbytes for each in (packed, scale, least)) == STORED_BYTES * NUMBERS
    assert unpack(unpacking, packed, scale, least) == pytest.approx(numbers, abs=0.6 / float(scale.min()))
    assert unpacking.moved == unpack_bytes(scattered=False) * NUMBERS
    # Every other byte of a row is read twice, where whole rows are read once each.
    scattered = 2 * NUMBERS / 2
    assert packing.moved + scattered == pack_bytes() * NUMBERS


def test_scattered_halves_write_all_sectors_twice():
    assert unpack_bytes(scattered=True) - unpack_bytes(scattered=False) == 2.0
