"""From ``cluster:`` to what stands before the instances: a router, migration, or a split of prefill and decode."""

from collections.abc import Sequence

from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import MigrationSpec
from simulator.experiment.disaggregation import disaggregated
from simulator.experiment.fleets import fleet
from simulator.experiment.migration import lending, migrating
from simulator.experiment.named import Named
from simulator.experiment.schema import ClusterSpec, InstanceSpec
from simulator.hardware.profile import Profile
from simulator.hardware.registry import load_profile
from simulator.model.transformer import Transformer


def front_of(cluster: ClusterSpec, model: Transformer, seed: int) -> Router | Front:
    """Return a cluster's router or front; InputError names the key of what does not fit together."""
    specs = [spec for spec in cluster.instances for _ in range(spec.count)]
    router = _router(cluster.router)
    if cluster.migration is not None and cluster.borrowing is not None:
        raise InputError("migration and borrowing at once", where="cluster.borrowing", hint="keep one of them")
    if cluster.faults is not None or cluster.autoscaling is not None:
        return _fleet(cluster, specs, router, model, seed)
    if all(spec.role == "mixed" for spec in specs):
        if cluster.disaggregation is not None:
            raise InputError(
                "no instance has a role",
                where="cluster.disaggregation",
                hint="role: prefill for some, decode for others",
            )
        if cluster.migration is not None:
            return migrating(cluster.migration, specs, router, topology_of(cluster), model)
        if cluster.borrowing is not None:
            return lending(cluster.borrowing, specs, router, topology_of(cluster), model)
        return router
    for key in ("migration", "borrowing"):
        if getattr(cluster, key) is not None:
            raise InputError(
                f"{key} between instances with roles", where=f"cluster.{key}", hint=f"leave out role, or cluster.{key}"
            )
    return disaggregated(cluster.disaggregation, specs, router, topology_of(cluster), model)


def _fleet(cluster: ClusterSpec, specs: Sequence[InstanceSpec], router: Router, model: Transformer, seed: int) -> Front:
    """Return the front of a cluster whose instances come and go."""
    key = "faults" if cluster.faults is not None else "autoscaling"
    moves = cluster.migration is not None or cluster.borrowing is not None
    if moves or any(spec.role != "mixed" for spec in specs):
        raise InputError(
            "instances that come and go behind anything but a router",
            where=f"cluster.{key}",
            hint="leave out migration, borrowing and roles; faults.in_flight: migrate moves them before a spot ends",
        )
    copying = None
    if cluster.faults is not None and cluster.faults.in_flight == "migrate":
        copying = migrating(MigrationSpec(), specs, router, topology_of(cluster), model).copying
    return fleet(cluster.faults, cluster.autoscaling, [spec.scheduler.name for spec in specs], router, copying, seed)


def topology_of(cluster: ClusterSpec) -> Topology:
    """Return where a cluster's instances stand and what links they have."""
    links = cluster.links
    places = []
    for spec in cluster.instances:
        gpus = spec.tensor_parallel * spec.pipeline_parallel
        profile = load_profile(spec.hardware)
        within = links.within_node if links.within_node is not None else _within(profile)
        between = links.between_nodes
        if between is None and profile.links.infiniband is not None:
            between = profile.links.infiniband.bandwidth
        place = Place(gpus, None if within is None else gpus * within, None if between is None else gpus * between)
        places += [place] * spec.count
    return Topology(places, links.gpus_per_node, to_ps(links.latency))


def _within(profile: Profile) -> float | None:
    link = profile.links.nvlink or profile.links.pcie
    return None if link is None else link.bandwidth


def _router(choice: Named) -> Router:
    return ROUTERS.make(choice.name, choice.params)
