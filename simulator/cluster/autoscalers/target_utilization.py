"""As many instances as keep their KV memory used to a target."""

from math import ceil

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.fleet import Fleet, State
from simulator.cluster.registry import autoscaler
from simulator.core import InputError


@autoscaler("target_utilization")
class TargetUtilization(Autoscaler):
    """Instances in proportion to the share of KV blocks in use over its target, unless it is within ``tolerance``.

    The rule of Kubernetes' HorizontalPodAutoscaler (whose default tolerance this is), with KV memory as the metric.
    """

    source = "Kubernetes documentation, Horizontal Pod Autoscaling, algorithm details"

    def __init__(self, *, target: float = 0.7, tolerance: float = 0.1) -> None:
        if not 0 < target <= 1 or tolerance < 0:
            raise InputError(f"target {target}, tolerance {tolerance}", hint="0 < target <= 1, tolerance of 0 or more")
        self.target, self.tolerance = target, tolerance

    def wanted(self, fleet: Fleet, now: int) -> int:
        """Return the number of instances that would be used to the target."""
        serving = [fleet.cluster.instances[index] for index in fleet.those(State.SERVING)]
        number = len(serving) + len(fleet.those(State.STARTING, State.FAILING, State.RESTARTING))
        if not serving:
            return number
        used = sum(instance.blocks_used() / instance.core.kv.total for instance in serving) / len(serving)
        ratio = used / self.target
        return number if abs(ratio - 1) <= self.tolerance else ceil(len(serving) * ratio)
