"""From ``cluster:`` to what stands before the instances: a router, migration, or a split of prefill and decode."""

from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError, to_ps
from simulator.experiment.disaggregation import disaggregated
from simulator.experiment.migration import migrating
from simulator.experiment.named import Named
from simulator.experiment.schema import ClusterSpec
from simulator.hardware.profile import Profile
from simulator.hardware.registry import load_profile
from simulator.model.transformer import Transformer


def front_of(cluster: ClusterSpec, model: Transformer) -> Router | Front:
    """Return a cluster's router or front; InputError names the key of what does not fit together."""
    specs = [spec for spec in cluster.instances for _ in range(spec.count)]
    router = _router(cluster.router)
    if all(spec.role == "mixed" for spec in specs):
        if cluster.disaggregation is not None:
            raise InputError(
                "no instance has a role",
                where="cluster.disaggregation",
                hint="role: prefill for some, decode for others",
            )
        if cluster.migration is not None:
            return migrating(cluster.migration, specs, router, topology_of(cluster), model)
        return router
    if cluster.migration is not None:
        raise InputError(
            "requests cannot migrate between instances with roles",
            where="cluster.migration",
            hint="leave out role, or cluster.migration",
        )
    return disaggregated(cluster.disaggregation, specs, router, topology_of(cluster), model)


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
