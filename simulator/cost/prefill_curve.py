"""Prompt attention of an iteration's chunks, from a table over (batch, new tokens) of prompts computed whole."""

from math import exp, log

from simulator.cost.attention_table import AttentionTable


class PrefillCurve:
    """Seconds of one layer's prompt attention, for chunks of ``tokens`` tokens that attend to ``pairs`` in all.

    Chunks with cached tokens before them, and several in one iteration, do the work of ``b`` whole prompts of ``s``
    tokens each: ``b * s`` tokens, and ``b`` times the pairs of a causal prompt of ``s`` (in the table's window, if it
    has one). A chunk late in a long prompt is thus a share ``b < 1`` of that prompt. Between knots time is a
    power law of both.
    """

    def __init__(self, table: AttentionTable) -> None:
        self._window = table.window
        self._launch = float(table.seconds.min())
        self._log_batch = [log(batch) for batch in table.batch.tolist()]
        self._log_length = [log(length) for length in table.length.tolist()]
        self._log_seconds = [[log(seconds) for seconds in row] for row in table.seconds.tolist()]

    def seconds(self, tokens: int, pairs: float) -> float:
        """Return the time; ``pairs`` counts every new token with each token it attends to."""
        length = log(max(self._prompt(pairs / tokens), 1.0))
        batch = log(tokens) - length
        whole = max(batch, self._log_batch[0])
        seconds = exp(self._between(whole, length))
        if batch < whole:
            return self._launch + exp(batch - whole) * max(0.0, seconds - self._launch)
        return seconds

    def _prompt(self, attended: float) -> float:
        """Return the length of a whole prompt whose tokens attend to so many on average."""
        window = self._window
        if not window or attended <= window / 2:
            return 2.0 * attended
        # s * w - w * w / 2 pairs in a prompt of s > w tokens; a chunk deep in the window is as one of a long prompt.
        return min(window * window / (2.0 * max(window - attended, 1e-9)), exp(self._log_length[-1]))

    def _between(self, batch: float, length: float) -> float:
        low, x = _place(self._log_batch, batch)
        left, y = _place(self._log_length, length)
        rows = self._log_seconds
        here = rows[low][left] + y * (rows[low][left + 1] - rows[low][left])
        if low + 1 == len(rows):
            return here
        there = rows[low + 1][left] + y * (rows[low + 1][left + 1] - rows[low + 1][left])
        return here + x * (there - here)


def _place(knots: list[float], at: float) -> tuple[int, float]:
    """Return the knot below and the share of the way to the next; beyond the last knot the last two go on."""
    low, last = 0, len(knots) - 2
    if last < 0:
        return 0, 0.0
    while low < last and knots[low + 1] <= at:
        low += 1
    return low, max(0.0, (at - knots[low]) / (knots[low + 1] - knots[low]))


def pairs_of(new: int, cached: int, window: int) -> float:
    """Return how many tokens the ``new`` ones after ``cached`` attend to in all, causally, in a window if not 0."""
    if not window or cached + new <= window:
        return new * (cached + new / 2)
    if cached >= window:
        return float(new * window)
    below = window - cached
    return below * (cached + below / 2) + (new - below) * window
