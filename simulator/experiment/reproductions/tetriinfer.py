"""TetriInfer against vLLM: first tokens and job completion, by how heavy prompts and outputs are."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.tetriinfer import TetriInfer
from simulator.cluster.topology import Place, Topology
from simulator.core import Streams
from simulator.core.quantity import Bandwidth, Rate, Size
from simulator.experiment.reproductions.tools.lengths import Drawn
from simulator.experiment.reproductions.tools.outcome import Figure, Outcome, Panel, Row, Series
from simulator.experiment.reproductions.tools.registry import reproduction
from simulator.experiment.reproductions.tools.runner import Runner
from simulator.experiment.reproductions.tools.seeds import Spread
from simulator.experiment.reproductions.tools.setup import Setup
from simulator.experiment.reproductions.tools.workloads import arrivals, workload
from simulator.experiment.reproductions.tools.world import World, serve
from simulator.scheduling.predictors import make_predictor
from simulator.workload.section import Count

Bounds = Annotated[list[Count], Field(min_length=2, max_length=2)]
Kind = tuple[tuple[int, int], tuple[int, int]]
_LAYERS = 40
_PREDICTOR = {"kind": "bucketed", "width": 200, "accuracy": 0.749, "says": "lower"}


class TetriInferSetup(Setup):
    """What ``tetriinfer.yaml`` has beside what every reproduction has: tokens of light and heavy requests, the link."""

    rate: Rate
    light_prompt: Bounds
    heavy_prompt: Bounds
    light_output: Bounds
    heavy_output: Bounds
    kv_token: Size
    link: Bandwidth

    def kinds(self) -> dict[str, tuple[Kind, ...]]:
        """Return, by workload, the bounds of prompt and output tokens of the kinds of requests that it mixes."""

        def kind(prompt: list[int], output: list[int]) -> Kind:
            return (prompt[0], prompt[1]), (output[0], output[1])

        kinds = {
            "LPLD": kind(self.light_prompt, self.light_output),
            "LPHD": kind(self.light_prompt, self.heavy_output),
            "HPLD": kind(self.heavy_prompt, self.light_output),
            "HPHD": kind(self.heavy_prompt, self.heavy_output),
        }
        return {**{name: (each,) for name, each in kinds.items()}, "mixed": tuple(kinds.values())}


@reproduction("tetriinfer", TetriInferSetup)
def reproduce(setup: TetriInferSetup, runner: Runner) -> Outcome:
    """Serve all five workloads on TetriInfer, and on vLLM with one instance and with two."""
    kinds, seeds = setup.kinds(), setup.seeds
    systems = [(setup.world("prefill"), setup.world("decode")), (setup.world("one"),), (setup.world("two"),)]
    tasks = [
        (system, mixed, setup.kv_token, setup.link, setup.rate, setup.requests, seed)
        for mixed in kinds.values()
        for system in systems
        for seed in seeds
    ]
    found = np.array(runner.map(means, tasks)).reshape(len(kinds), len(systems), len(seeds), 2)
    rows = {}
    for at, name in enumerate(kinds):
        for system, count in enumerate(("one", "two"), start=1):
            for column, metric in enumerate(("ttft", "jct")):
                gains = found[at, system, :, column] / found[at, 0, :, column]
                rows[f"{count}_{metric}_{name}"] = Row(gains.tolist())
    less = 100 * (1 - found[-1, 0] / found[-1, 1])
    rows["ttft_mixed"], rows["jct_mixed"] = Row(less[:, 0].tolist()), Row(less[:, 1].tolist())
    rows["ttft_heavy"] = rows["one_ttft_HPLD"]
    heavy, light = (np.array(rows[f"one_ttft_{name}"].ours) for name in ("HPHD", "HPLD"))
    rows["smallest"] = Row([float(heavy.mean() / light.mean())])
    notes = [
        "TetriInfer's code, data and machines are not public; lengths are uniform between the bounds above",
        "One vLLM instance has half of TetriInfer's GPUs. Against as many GPUs most of the gain is gone: two instances "
        "have twice the memory for outputs, which is what heavy outputs wait for",
    ]
    return Outcome(rows, _figure(found, list(kinds)), notes)


def means(
    system: tuple[World, ...],
    kinds: tuple[Kind, ...],
    kv_token: float,
    link: float,
    rate: float,
    requests: int,
    seed: int,
) -> tuple[float, float]:
    """Return the mean time to first token and to the last, in seconds; two worlds are TetriInfer's instances."""
    streams = Streams(seed)
    drawn = _draw(streams.get("lengths"), kinds, requests)
    asked = workload(arrivals(streams.get("arrivals"), requests, rate), drawn)
    if len(system) == 1:
        served = system[0].serve(asked, seed)
    else:
        handover = Handover(Topology([Place(1, link, link)] * 2), KVShape(kv_token, _LAYERS))
        front = TetriInfer([0], [1], handover, make_predictor(_PREDICTOR))
        served = serve([world.server() for world in system], front, asked, seed)
    return float(served.ttft_s.mean()), float(served.e2e_s.mean())


def _draw(rng: np.random.Generator, kinds: tuple[Kind, ...], requests: int) -> Drawn:
    which = rng.integers(len(kinds), size=requests)
    low, high = np.array(kinds)[which].transpose(2, 0, 1)
    tokens = rng.integers(low, high, endpoint=True)
    return Drawn(tokens[:, 0], tokens[:, 1])


def _figure(found: NDArray[np.float64], names: list[str]) -> Figure:
    panels = []
    for column, title in enumerate(("Mean time to first token", "Mean job completion time")):
        series = []
        for system, label in enumerate(("TetriInfer (1 + 1)", "vLLM, one instance", "vLLM, two instances")):
            spreads = [Spread.of(found[at, system, :, column].tolist()) for at in range(len(names))]
            series.append(Series(label, names, [each.mean for each in spreads], [each.sd for each in spreads]))
        panels.append(Panel(title, "", "seconds", series, log_y=column == 0))
    return Figure("TetriInfer and vLLM, OPT-13B (L light, H heavy; P prompts, D outputs)", panels)
