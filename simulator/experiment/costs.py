"""What a run costs: dollars by the price of its GPUs, joules by their power. Unknown stays unknown, never zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simulator.core import PS_PER_S
from simulator.engine.ledger import RUN_COLUMNS, Ledger
from simulator.hardware.profile import Profile
from simulator.hardware.sections import Draw
from simulator.model.transformer import Transformer


@dataclass(frozen=True)
class Meter:
    """What one instance's GPUs cost and draw.

    ``usd_per_hour`` and ``draw`` are of one of its ``gpus``, None where nobody knows. ``flops_per_token`` are those of
    the matrix products over all of them, ``peak`` a GPU's bf16 FLOP/s.
    """

    gpus: int
    usd_per_hour: float | None
    price_source: str
    draw: Draw | None
    flops_per_token: float
    peak: float | None

    @classmethod
    def of(cls, model: Transformer, profile: Profile, gpus: int, usd_per_hour: float | None) -> "Meter":
        """Return the meter of an instance; ``usd_per_hour`` overrides the profile's price of a GPU."""
        price = profile.price
        if usd_per_hour is not None:
            source = "as the experiment says"
        elif price is not None and price.currency == "USD":
            usd_per_hour, source = price.per_hour, f"{price.source}, {price.date}"
        else:
            source = "unknown; set cluster.instances[*].price"
        return cls(gpus, usd_per_hour, source, profile.power, matmul_flops(model), profile.peak.get("bfloat16"))

    def describe(self) -> dict[str, Any]:
        """Return price and power for the results, with what each rests on."""
        return {
            "usd_per_gpu_hour": self.usd_per_hour,
            "price_source": self.price_source,
            "power_source": self._power_source(),
        }

    def _power_source(self) -> str:
        draw = self.draw
        if draw is None:
            return "unknown"
        if draw.curve is None or self.peak is None:
            text = f"an upper bound: {draw.tdp:.0f} W, the limit, while it iterates"
        else:
            text = f"power curve of {draw.curve.samples} measurements, off by {draw.curve.error:.0%} on unseen models"
        between = "as measured idle" if draw.idle is not None else "an upper bound, idle was not measured"
        return f"{text}; {draw.waiting:.0f} W between iterations ({between})"

    def joules(self, ledger: Ledger, duration_s: float) -> float | None:
        """Return the joules that the instance draws in a run of so many seconds; None where its power is not known."""
        if self.draw is None:
            return None
        runs = ledger.runs()
        column = {name: runs[:, RUN_COLUMNS.index(name)].astype(np.float64) for name in _COLUMNS}
        count = column["iterations"]
        tokens = column["decodes"] + column["prefill_tokens"] / count
        mean = (column["first"] + column["growth"] * (count - 1) / 2) / PS_PER_S
        # Power is not linear in an iteration's time. Half of a run's iterations this much shorter than their mean, half
        # as much longer, have the same mean, variance and skewness as equal steps: exact for what is cubic in between.
        spread = column["growth"] * np.sqrt((count**2 - 1) / 12) / PS_PER_S
        energy = sum(
            float((self.draw.iterating(self._utilization(tokens, each)) * each * count).sum()) / 2
            for each in (mean - spread, mean + spread)
        )
        idle = max(duration_s - float((mean * count).sum()), 0.0)
        return self.gpus * (energy + self.draw.waiting * idle)

    def _utilization(self, tokens: np.ndarray[Any, Any], seconds: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        if self.peak is None:
            # Without a peak the share is unknown: 1 gives the most that the GPU can draw.
            return np.ones_like(tokens)
        most = seconds * self.gpus * self.peak
        return np.minimum(np.divide(tokens * self.flops_per_token, most, out=np.zeros_like(most), where=most > 0), 1.0)


_COLUMNS = ("first", "growth", "iterations", "decodes", "prefill_tokens")


def matmul_flops(model: Transformer) -> float:
    """Return the FLOPs of the matrix products that one token goes through: two a weight, attention not counted."""
    looked_up = 0 if model.tied else model.vocab * model.hidden
    return 2.0 * (model.active_parameters - looked_up)


def bill(
    meters: Sequence[Meter],
    ledgers: Sequence[Ledger],
    duration_s: float,
    tokens: int,
    up_s: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Return a run's cost and energy; ``tokens`` are the output tokens of completed requests.

    GPUs are paid and powered from the first arrival to the last request's end, or where instances come and go for
    ``up_s`` seconds each. A figure is None where the price or the
    power of any GPU is unknown.
    """
    seconds = [duration_s] * len(meters) if up_s is None else up_s
    cost = _sum(
        None if each.usd_per_hour is None else each.gpus * each.usd_per_hour * (up / 3600)
        for each, up in zip(meters, seconds, strict=True)
    )
    energy = _sum(each.joules(ledger, up) for each, ledger, up in zip(meters, ledgers, seconds, strict=True))
    return {
        "cost_usd": cost,
        "usd_per_million_output_tokens": None if cost is None or not tokens else cost / (tokens / 1e6),
        "energy_j": energy,
        "joules_per_output_token": None if energy is None or not tokens else energy / tokens,
    }


def _sum(values: Any) -> float | None:
    known = list(values)
    return None if any(value is None for value in known) else float(sum(known))
