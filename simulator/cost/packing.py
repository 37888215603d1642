"""Weights and KV kept in groups of 4-bit numbers, packed and made 16-bit again by single elementwise operations.

Source: the operations are those of FlexGen's published code (compression.py: PyTorch, none fused), the format is that
of Sheng et al., FlexGen, arXiv 2303.06865, section 5: 64 numbers share a scale and a minimum. Bytes of an operation are
what it reads and writes of the GPU's memory. Its tensors are far larger than caches, and its launches microseconds
beside milliseconds, so neither is counted.
"""

from dataclasses import dataclass

_GROUP = 64
_SIXTEEN_BIT, _BYTE, _INDEX = 2.0, 1.0, 8.0
# A number's share of what its group has one of.
_OF_GROUP = _SIXTEEN_BIT / _GROUP

# Bytes in which a number is stored and sent: two in a byte, and a scale and a minimum for each group.
STORED_BYTES = _BYTE / 2 + 2 * _OF_GROUP


def unpack_bytes(*, scattered: bool) -> float:
    """Return bytes that the GPU's memory moves to unpack one number.

    A shift and a mask each take one half of all packed bytes into bytes of their own, which are copied into every
    other place among 16-bit numbers; then all are divided by the scale and the minimum is added, in place. Not
    ``scattered``: the halves go to whole rows (weights, grouped down their columns). ``scattered``: to every other
    number of a row (KV, grouped along a head), so that each copy touches all of the memory's sectors of 32 bytes.
    """
    taken = _BYTE / 2 + _BYTE / 2
    copied = _BYTE / 2 + (_SIXTEEN_BIT if scattered else _SIXTEEN_BIT / 2)
    scaled = 2 * _SIXTEEN_BIT + _OF_GROUP
    return 2 * (taken + copied) + 2 * scaled


def pack_bytes() -> float:
    """Return bytes that the GPU's memory moves to pack one number of KV.

    Minimum and maximum of the group (each with an index), difference, product, two bounds in one operation, rounding,
    16-bit numbers into bytes, one half shifted, and both joined; halves are every other byte of a row.
    """
    extremes = 2 * (_SIXTEEN_BIT + _OF_GROUP + _INDEX / _GROUP)
    scaled = 4 * 2 * _SIXTEEN_BIT + 2 * _OF_GROUP
    to_bytes = _SIXTEEN_BIT + _BYTE
    shifted = _BYTE + _BYTE / 2
    joined = _BYTE / 2 + _BYTE + _BYTE / 2
    return extremes + scaled + to_bytes + shifted + joined


@dataclass(frozen=True)
class Packing:
    """What a GPU keeps packed: numbers of its weights and of a token's KV, none of what stays in 16 bit.

    ``bandwidth``: bytes a second of elementwise operations.
    """

    weights: float
    token: float
    bandwidth: float

    def seconds(self, passes: int, read: float, new: float) -> float:
        """Return seconds of unpacking weights in each pass and KV of ``read`` tokens, and of packing ``new`` tokens."""
        moved = passes * self.weights * unpack_bytes(scattered=False)
        moved += self.token * (read * unpack_bytes(scattered=True) + new * pack_bytes())
        return moved / self.bandwidth
