"""Learning to rank: mean latency per token against the rate, by how good the ranker is."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request, Streams
from simulator.core.quantity import Rate
from simulator.experiment.reproductions.tools.lengths import Drawn, LognormalLengths
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import World
from simulator.scheduling.predictors import make_predictor

Float = NDArray[np.float64]
_NAMES = {"fcfs": "FCFS", "tau_1": "LTR, tau 1", "tau_0_8": "tau 0.8", "tau_0_6": "tau 0.6", "tau_0_4": "tau 0.4"}


class LtrSetup(Setup):
    """What ``ltr.yaml`` has beside what every reproduction has."""

    rates: list[Rate]
    judged_at: Rate
    lengths: LognormalLengths


@reproduction("ltr", LtrSetup)
def reproduce(setup: LtrSetup, runner: Runner) -> Outcome:
    """Serve the same requests in order of arrival and in order of rank."""
    per_rate = [round(setup.requests * rate / setup.rates[-1]) for rate in setup.rates]
    tasks = [
        (setup.world(name), setup.lengths, rate, requests, seed)
        for name in _NAMES
        for rate, requests in zip(setup.rates, per_rate, strict=True)
        for seed in setup.seeds
    ]
    # Shape (world, rate, seed, mean or P99).
    found = np.array(runner.map(latencies, tasks)).reshape(len(_NAMES), len(setup.rates), len(setup.seeds), 2)
    taus = list(_NAMES)[1:]
    gains = found[0] / found[1:]  # of each ranker
    judged, last = setup.rates.index(setup.judged_at), len(setup.rates) - 1
    rows = {f"gain_{name}": Row(gains[n, judged, :, 0].tolist()) for n, name in enumerate(taus)}
    rows["gain_at_64"] = Row(gains[0, last, :, 0].tolist())
    rows["p99"] = Row(gains[0, judged, :, 1].tolist())
    steps = gains[:-1, judged, :, 0] / gains[1:, judged, :, 0]
    rows["order"] = Row(steps.min(axis=0).tolist())
    rows["never_worse"] = Row(gains[0, :, :, 0].min(axis=0).tolist())
    predictor = setup.worlds["tau_0_6"].scheduler.params["predictor"]
    rows["reached_0_6"] = Row(
        [
            tau_reached(setup.lengths.draw(Streams(seed).get("lengths"), per_rate[judged]), predictor)
            for seed in setup.seeds
        ]
    )
    notes = [
        setup.lengths.describe(),
        f"requests by rate: {', '.join(f'{n} at {rate:g}/s' for n, rate in zip(per_rate, setup.rates, strict=True))}",
    ]
    return Outcome(rows, _figure(setup, found), notes)


def latencies(world: World, lengths: LognormalLengths, rate: float, requests: int, seed: int) -> tuple[float, float]:
    """Return mean and P99 of the latency per output token, in seconds."""
    streams = Streams(seed)
    drawn = lengths.draw(streams.get("lengths"), requests)
    served = world.serve(workload(arrivals(streams.get("arrivals"), requests, rate), drawn), seed)
    return float(served.normalised_s.mean()), float(np.percentile(served.normalised_s, 99))


def tau_reached(drawn: Drawn, predictor: Any) -> float:
    """Return the Kendall tau-b between true output lengths and those that a predictor says."""
    says = make_predictor(predictor)
    rows = enumerate(zip(drawn.prompt.tolist(), drawn.output.tolist(), strict=True))
    said = np.array([says.predict(Request(index, 0, prompt, output)) for index, (prompt, output) in rows])
    return kendall_tau(drawn.output.astype(np.float64), said)


def kendall_tau(one: Float, other: Float) -> float:
    """Return Kendall's tau-b of two columns; NaN where one of them never changes."""
    first, second = (np.sign(column[:, None] - column[None, :]) for column in (one, other))
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


def _figure(setup: LtrSetup, found: Float) -> Figure:
    panels = []
    for column, title in enumerate(("mean", "P99")):
        series = [
            Series(name, setup.rates, found[n, :, :, column].mean(axis=1).tolist(), _sd(found[n, :, :, column]))
            for n, name in enumerate(_NAMES.values())
        ]
        panels.append(Panel(title, "requests/s, for 60 s", "latency per output token, s", series, log_y=True))
    return Figure("Learning to rank: latency per token by the ranker's Kendall tau", panels)


def _sd(values: Float) -> list[float]:
    return [float(sd) for sd in values.std(axis=1, ddof=1 if values.shape[1] > 1 else 0)]
