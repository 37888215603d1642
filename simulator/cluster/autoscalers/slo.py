"""One instance more while too few answers are in time."""

from collections import deque

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.fleet import Fleet, State
from simulator.cluster.registry import autoscaler
from simulator.core import InputError, Request
from simulator.core.quantity import DurationOrZero
from simulator.core.units import PS_PER_S


@autoscaler("slo")
class Slo(Autoscaler):
    """One more where, of the last ``window`` requests that ended, less than ``attainment`` were in time; else one less.

    In time: its first token within ``ttft``, and ``tpot`` a token after that (0s: not asked). A late
    request is noticed when it ends. After each change it begins to count anew.
    """

    def __init__(
        self, *, attainment: float = 0.95, ttft: DurationOrZero = 0.0, tpot: DurationOrZero = 0.0, window: int = 100
    ) -> None:
        if not 0 < attainment <= 1 or ttft < 0 or tpot < 0 or not (ttft or tpot) or window < 1:
            raise InputError(
                f"attainment {attainment}, ttft {ttft}, tpot {tpot}, window {window}",
                hint="0 < attainment <= 1, ttft or tpot such as 500ms, window of 1 or more",
            )
        self.attainment = attainment
        self.ttft, self.tpot = ttft, tpot
        self._last: deque[bool] = deque(maxlen=window)
        self._number = -1

    def ended(self, request: Request) -> None:
        """Note whether it was in time."""
        self._last.append(request.failure is None and self._in_time(request))

    def wanted(self, fleet: Fleet, now: int) -> int:
        """Return one more, one less, or as many as there are while too little is known."""
        number = len(fleet.those(State.SERVING, State.STARTING, State.FAILING, State.RESTARTING))
        if number != self._number:
            self._last.clear()
            self._number = number
        if len(self._last) < (self._last.maxlen or 1):
            return number
        return number - 1 if sum(self._last) >= self.attainment * len(self._last) else number + 1

    def _in_time(self, request: Request) -> bool:
        first, decoding = request.first_token_at - request.arrival, request.finished_at - request.first_token_at
        return not (
            (self.ttft and first > self.ttft * PS_PER_S)
            or (self.tpot and decoding > self.tpot * PS_PER_S * max(request.output_tokens - 1, 1))
        )
