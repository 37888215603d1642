"""Two searches over yes-or-no questions that answer yes up to, or from, some point on."""

from collections.abc import Callable


def smallest(meets: Callable[[int], bool], start: int, most: int) -> int | None:
    """Return the least count from 1 to ``most`` that meets; None if ``most`` does not.

    ``start`` is a guess. From there steps double until the answer turns, then they halve; the count before the one
    returned was asked for, too, unless there is none.
    """
    low, high = 0, most + 1  # low does not meet (0 stands for nothing), high meets (or is out of bounds)
    at, step = min(max(start, 1), most), 1
    while high - low > 1:
        if meets(at):
            high = at
        else:
            low = at
        if low == 0:
            at, step = max(high - step, 1), 2 * step
        elif high == most + 1:
            at, step = min(low + step, most), 2 * step
        else:
            at = (low + high) // 2
    return high if high <= most else None


def highest_rate(
    meets: Callable[[float], bool], start: float, *, precision: float = 0.1, least: float, most: float
) -> float | None:
    """Return the highest rate from ``least`` to ``most`` that meets, to a relative precision from below; None if none.

    From the guess ``start`` rates double or halve until the answer turns; then they are bisected by ratio.
    """
    low, high, at = 0.0, float("inf"), min(max(start, least), most)
    while high / low > 1 + precision if low else True:
        if meets(at):
            low = at
        else:
            high = at
        if low >= most:
            return low
        if high <= least:
            return None
        if not low:
            at = max(high / 2, least)
        elif high == float("inf"):
            at = min(low * 2, most)
        else:
            at = (low * high) ** 0.5
    return low
