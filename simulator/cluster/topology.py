"""Where instances stand, and over which links KV travels from one to another."""

from collections.abc import Sequence
from typing import NamedTuple

from simulator.cluster.links import Link
from simulator.core import InputError


class Place(NamedTuple):
    """One instance's GPUs and what they offer: bytes a second of all of them together in one direction.

    ``within``: to GPUs of the same node (NVLink, or PCIe); ``between``: to other nodes; None: not measured.
    """

    gpus: int
    within: float | None
    between: float | None


class _Ports(NamedTuple):
    within: tuple[Link, Link] | None  # out, in
    between: tuple[Link, Link] | None


class Topology:
    """Instances in order fill nodes of ``gpus_per_node`` GPUs; each has a port out and a port in of each kind.

    KV between two instances leaves the one and enters the other over ports of the same kind, shared with whatever else
    passes them then. ``latency``: ps a transfer takes beside its bytes. A larger instance spans nodes of its own.
    """

    def __init__(self, places: Sequence[Place], gpus_per_node: int = 8, latency: int = 0) -> None:
        if gpus_per_node < 1:
            raise InputError(f"gpus_per_node is {gpus_per_node}", hint="1 or more")
        self.nodes: list[int] = []
        node = used = 0
        for place in places:
            if used and used + place.gpus > gpus_per_node:
                node, used = node + 1, 0
            self.nodes.append(node)
            used += place.gpus
        self.latency = latency
        self._ports = [
            _Ports(self._port(index, "within", place.within), self._port(index, "between", place.between))
            for index, place in enumerate(places)
        ]

    def path(self, source: int, target: int) -> tuple[Link, ...]:
        """Return the links from one instance to another; InputError if there are none."""
        kind = "within" if self.nodes[source] == self.nodes[target] else "between"
        out, into = (getattr(self._ports[index], kind) for index in (source, target))
        if out is None or into is None:
            raise InputError(
                f"no link {kind} nodes from instance {source} to instance {target}",
                hint="the hardware profile has none measured: give cluster.links a bandwidth",
            )
        return out[0], into[1]

    @property
    def links(self) -> list[Link]:
        """All links, for what they carried."""
        return [link for ports in self._ports for pair in ports if pair is not None for link in pair]

    def _port(self, index: int, kind: str, bandwidth: float | None) -> tuple[Link, Link] | None:
        if bandwidth is None:
            return None
        return (
            Link(f"instance {index} {kind} nodes, out", bandwidth, self.latency),
            Link(f"instance {index} {kind} nodes, in", bandwidth),
        )
