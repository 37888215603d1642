"""Instances that serve one model, as the builders of fronts see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.cluster.topology import Place, Topology
from simulator.core import to_ps
from simulator.experiment.schema import ClusterSpec, InstanceSpec
from simulator.hardware.profile import Profile
from simulator.hardware.registry import load_profile
from simulator.model.transformer import Transformer


@dataclass(frozen=True)
class Group:
    """Instances of one model: their numbers in the cluster, a spec each, and the links of the whole cluster."""

    model: Transformer
    members: Sequence[int]
    specs: Sequence[InstanceSpec]
    topology: Topology

    def of_role(self, role: str) -> list[int]:
        """Return the instances of a role."""
        return [index for index, spec in zip(self.members, self.specs, strict=True) if spec.role == role]


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
