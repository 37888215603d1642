"""What CUDA graphs save: kernels that the host launches one by one."""

from collections.abc import Sequence
from typing import Any

from simulator.core import InputError
from simulator.core.quantity import Duration
from simulator.cost.base import CostModel
from simulator.cost.build import layer_costs
from simulator.cost.wrapped import WrappedCost
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import before_speculation
from simulator.hardware.engine_profile import Build, EngineProfile


@technique("without_cuda_graphs")
class WithoutCudaGraphs(Technique):
    """Eager mode: no batch is padded to a captured size, and launching its layers bounds every iteration from below.

    ``layer``: the host's time to launch a layer's kernels; none: the engine profile's ``launch_layer``, fitted to
    iterations that replayed no graph.
    """

    level = "engine"
    source = "the engine profile's launch_layer, fitted to first tokens of measured serving"
    changes = "no padding to captured sizes; an iteration takes layers x launch time at least"
    exclusive = "CUDA graphs"

    def __init__(self, *, layer: Duration | None = None) -> None:
        self._layer = layer

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Refuse to come after speculative decoding, whose steps it bounds."""
        before_speculation("without_cuda_graphs", before)

    def build(self, build: Build, engine: EngineProfile) -> Build:
        """Return the engine without captured graphs, and with the given time to launch a layer."""
        changed: dict[str, Any] = {"captured": 0}
        if self._layer is not None:
            hosts = {side: getattr(build, side) for side in ("host", "in_process")}
            given = {"launch_layer": self._layer, "launch_experts": 0.0}
            changed |= {side: host.model_copy(update=given) for side, host in hosts.items()}
        return build.model_copy(update=changed)

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return iterations that launch every layer."""
        layer = parts.host.launch_layer
        if not layer:
            raise InputError(
                f"the profile of engine {parts.engine.name} has no time for layers without a graph in this setting",
                hint="give the host's time to launch a layer: layer: 200us",
            )
        least = layer_costs(parts.model, parts.host).least
        return WrappedCost(cost, f"no CUDA graphs: {least * 1e3:.3g} ms to launch {parts.model.layers} layers")
