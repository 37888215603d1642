"""Arrivals whose rate changes: a renewal process run on a clock that goes as fast as the rate says."""

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


class RateProfile:
    """Rates by step, repeated for ever: ``durations`` in seconds and the requests ``expected`` in each of them."""

    def __init__(self, durations: Float, expected: Float) -> None:
        self._times = np.concatenate(([0.0], np.cumsum(durations)))
        self._counts = np.concatenate(([0.0], np.cumsum(expected)))

    def expected(self, until: float) -> float:
        """Return how many requests arrive before a time in seconds, on average."""
        rounds, rest = divmod(until, float(self._times[-1]))
        return float(rounds * self._counts[-1] + np.interp(rest, self._times, self._counts))

    def when(self, counts: Float) -> Float:
        """Return the seconds by which that many requests are expected: the inverse of ``expected``."""
        rounds, rest = np.divmod(counts, self._counts[-1])
        return np.asarray(rounds * self._times[-1] + np.interp(rest, self._counts, self._times))


def steady(rate: float) -> RateProfile:
    """Return the profile of one rate in requests a second."""
    return RateProfile(np.ones(1), np.full(1, rate))


def renewals(rng: np.random.Generator, cv: float, count: int | None, until: float | None) -> Float:
    """Return times with independent gamma gaps of mean 1 and variation ``cv``: ``count``, or all before ``until``.

    A longer run of the same generator begins with the shorter one.
    """
    if until is None:
        assert count is not None
        return np.asarray(np.cumsum(_gaps(rng, cv, count)))
    pieces, last = [], 0.0
    while last < until:
        gaps = _gaps(rng, cv, int((until - last) * 1.05) + 64)
        pieces.append(last + np.cumsum(gaps))
        last = float(pieces[-1][-1])
    times = np.concatenate(pieces)
    return times[: np.searchsorted(times, until)][:count]


def spread(rng: np.random.Generator, cv: float, counts: NDArray[np.int64], widths: Float) -> Float:
    """Return ``counts[i]`` times in the i-th of adjoining stretches, ``widths`` wide, with gamma gaps scaled to fit."""
    # A stretch of n requests has n + 1 gaps, from its start to its end; the last of them ends no request.
    gaps = _gaps(rng, cv, int(counts.sum()) + len(counts))
    stretch = np.repeat(np.arange(len(counts)), counts + 1)
    ends = np.cumsum(counts + 1) - 1
    reached = np.cumsum(gaps)
    before = np.concatenate(([0.0], reached[ends[:-1]]))
    total = np.maximum(reached[ends] - before, np.finfo(float).tiny)
    starts = np.cumsum(widths) - widths
    # Gaps of a high variation round to nothing: a request must not slip over its stretch's edge for that.
    share = np.clip((reached - before[stretch]) / total[stretch], 1e-9, 1 - 1e-9)
    times = starts[stretch] + share * widths[stretch]
    return np.asarray(np.delete(times, ends))


def _gaps(rng: np.random.Generator, cv: float, count: int) -> Float:
    if cv == 0:
        return np.ones(count)
    if cv == 1:
        return rng.standard_exponential(count)
    return rng.standard_gamma(cv**-2, count) * cv**2
