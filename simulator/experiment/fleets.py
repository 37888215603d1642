"""From ``cluster.faults`` and ``cluster.autoscaling`` to the front whose instances come and go."""

from simulator.cluster.autoscaling import Scaling
from simulator.cluster.cluster import Cluster
from simulator.cluster.divided import Divided
from simulator.cluster.faults import Fault, FaultEvent, Faults, RandomFaults
from simulator.cluster.fleet import Driver, Fleet, Loss
from simulator.cluster.migration import Copying
from simulator.cluster.registry import AUTOSCALERS
from simulator.cluster.router import Router
from simulator.cluster.spot import Spot
from simulator.core import InputError, to_ps
from simulator.core.units import PS_PER_S
from simulator.experiment.fleet_sections import FaultSpec, FaultsSpec
from simulator.experiment.groups import Group
from simulator.experiment.metrics import RequestTable
from simulator.experiment.schema import ClusterSpec
from simulator.scheduling.registry import SCHEDULERS


def fleet(
    cluster: ClusterSpec,
    group: Group,
    router: Router,
    copying: Copying | None,
    seed: int,
) -> Fleet:
    """Return the front of instances that come and go; InputError names the key of what does not fit them."""
    faults, autoscaling = cluster.faults, cluster.autoscaling
    count, drivers, loss, initial = len(group.members), list[Driver](), Loss(), None
    if faults is not None:
        schedulers = [spec.scheduler.name for spec in group.specs]
        drivers.append(_faults(faults, sum(spec.count for spec in cluster.instances), seed))
        loss = Loss(faults.in_flight, faults.retries, to_ps(faults.noticed_after), copying)
        able = [name for name in set(schedulers) if SCHEDULERS.get(name).recomputes]
        if faults.in_flight == "resume" and len(able) < len(set(schedulers)):
            name = next(name for name in schedulers if name not in able)
            raise InputError(
                f"scheduler '{name}' cannot resume a request",
                where="cluster.faults.in_flight",
                hint="retry, or fail",
            )
    if autoscaling is not None:
        most = autoscaling.max or count
        initial = autoscaling.initial or autoscaling.min
        if not autoscaling.min <= initial <= most <= count:
            raise InputError(
                f"min {autoscaling.min}, initial {initial}, max {most} of {count} instances",
                where="cluster.autoscaling",
                hint="min <= initial <= max <= the number of cluster.instances",
            )
        policy = AUTOSCALERS.make(autoscaling.policy.name, autoscaling.policy.params)
        drivers.append(
            Scaling(
                policy,
                period=to_ps(autoscaling.period),
                startup=to_ps(autoscaling.startup),
                least=autoscaling.min,
                most=most,
                calm=to_ps(autoscaling.calm),
            )
        )
    return Fleet(router, loss, drivers, initial=initial)


def up_seconds(cluster: Cluster, table: RequestTable) -> list[float] | None:
    """Return how long each instance was up, from the first arrival to the last end; None where all always are.

    On spot nodes, the first one stands for all: for as many of its own GPUs as nodes had, whether they served or not.
    """
    front = cluster.front
    fleets = [each for each in (front.fronts if isinstance(front, Divided) else [front]) if isinstance(each, Fleet)]
    if not (fleets or isinstance(front, Spot)) or not len(table.arrival):
        return None
    since, until = int(table.arrival.min()), int(table.finished.max())
    if isinstance(front, Spot):
        each = front.nodes.gpus / next(iter(front.layouts)).gpus
        return [front.paid_ps(since, until) * each / PS_PER_S] + [0.0] * (len(cluster.instances) - 1)
    up = {each.index: one.up_ps(each.index, since, until) / PS_PER_S for one in fleets for each in one.instances}
    return [up[index] for index in range(len(cluster.instances))]


def _faults(choice: FaultsSpec, count: int, seed: int) -> Faults:
    for key, specs in (("events", [[event.instance] for event in choice.events]),
                       ("random", [each.instances or () for each in choice.random])):  # fmt: skip
        for position, indices in enumerate(specs):
            if beyond := [index for index in indices if index >= count]:
                raise InputError(
                    f"there is no instance {beyond[0]}",
                    where=f"cluster.faults.{key}[{position}]",
                    hint=f"they are numbered 0 to {count - 1}",
                )
    events = [FaultEvent(to_ps(event.at), event.instance, _fault(event)) for event in choice.events]
    return Faults(events, [RandomFaults(_fault(each), each.mtbf, each.instances) for each in choice.random], seed)


def _fault(spec: FaultSpec) -> Fault:
    lasts = None if spec.lasts is None else to_ps(spec.lasts)
    return Fault(spec.kind, lasts, spec.factor or 1.0, to_ps(spec.grace or 0.0))
