"""Time and sizes. The simulated clock counts whole picoseconds.

Integer time is why the fast path and ``--exact-steps`` agree to the last bit: adding up n durations one by one
and multiplying them out give the same number, and two events are at the same moment or they are not.
A signed 64-bit count of picoseconds spans 106 days.
"""

from typing import Final

PS_PER_S: Final = 10**12
PS_PER_MS: Final = 10**9
MAX_PS: Final = 2**63 - 1

KIB: Final = 2**10
MIB: Final = 2**20
GIB: Final = 2**30


def to_ps(seconds: float) -> int:
    """Return seconds as whole picoseconds, rounded to nearest."""
    return round(seconds * PS_PER_S)


def to_s(picoseconds: int) -> float:
    """Return picoseconds as seconds."""
    return picoseconds / PS_PER_S
