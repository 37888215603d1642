"""Rerouting: pipelines of one fixed shape on spot nodes; each that loses a node is dropped, its requests go elsewhere.

Source: the baseline of that name of Miao et al., SpotServe, ASPLOS 2024, section 6.1: it acts on losses,
not on notices.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from simulator.cluster.links import Transfer
from simulator.cluster.regroup import Kept
from simulator.cluster.reparallelise import Shape
from simulator.cluster.spot import Change, Layout, Nodes, Spot
from simulator.core import Request

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class Rerouting(Spot):
    """As many pipelines of a shape as there are GPUs for.

    A pipeline serves until a node of it is gone (the notice is of no use to it), and is gone then, too; the requests it
    had begin anew elsewhere. A new pipeline serves when all its GPUs have loaded their ``weights`` (bytes of the model)
    from storage, after ``restart`` ps.
    """

    def __init__(
        self,
        layouts: Iterable[Layout],
        nodes: Nodes,
        initial: int,
        changes: Sequence[Change],
        grace: int,
        *,
        shape: Shape,
        batch: int,
        weights: float,
        restart: int = 0,
    ) -> None:
        super().__init__(layouts, nodes, initial, changes, grace)
        self.shape, self.batch, self.weights, self.restart = shape, batch, weights, restart
        self.pipelines: dict[int, tuple[int, ...]] = {}  # their GPUs
        self._loading: dict[int, list[Transfer]] = {}
        self._tries = 0  # pipelines begun, to tell one from another in the same place

    def start(self, cluster: "Cluster") -> None:
        """Begin with as many pipelines as there are GPUs for, their weights loaded."""
        super().start(cluster)
        self._dropping: set[int] = set()
        self._add(loaded=True)

    def hope(self) -> bool:
        """Tell whether a pipeline serves, or may some day."""
        return super().hope() or bool(self.pipelines) or bool(self._dropping)

    def changed(self) -> None:
        """Add pipelines if there are GPUs."""
        self._add()

    def lost(self, node: int) -> None:
        """Drop the pipelines on a node."""
        for slot in [slot for slot in self.pipelines if node in self._nodes(slot)]:
            del self.pipelines[slot]
            for transfer in self._loading.pop(slot, []):
                self.cluster.network.cancel(transfer)
            self._dropping.add(slot)
            self.stop_slot(slot, partial(self._dropped, slot))

    def _nodes(self, slot: int) -> set[int]:
        return {gpu // self.nodes.gpus for gpu in self.pipelines[slot]}

    def _dropped(self, slot: int, kept: list[Kept], others: list[Request]) -> None:
        self._dropping.remove(slot)
        for each in kept:
            each.release()
        for request in sorted([*(each.request for each in kept), *others]):
            self.again(request, keeps_tokens=False)
        self._add()
        self.flush()

    def _add(self, *, loaded: bool = False) -> None:
        """Begin pipelines on free GPUs, in places where none is."""
        used = {gpu for gpus in self.pipelines.values() for gpu in gpus}
        size = self.nodes.gpus
        free = [gpu for node in self.usable for gpu in range(node * size, (node + 1) * size) if gpu not in used]
        slots = [
            at for at in range(len(self.cluster.instances)) if at not in self.pipelines and at not in self._dropping
        ]
        for slot in slots:
            if len(free) < self.shape.gpus:
                break
            self.pipelines[slot] = tuple(free[: self.shape.gpus])
            free = free[self.shape.gpus :]
            self._tries += 1
            if loaded:
                self.start_slot(slot, self.shape, self.batch, [])
            else:
                self._loading[slot] = []
                self.at(self.cluster.clock.time + max(self.restart, 1), partial(self._load, slot, self._loading[slot]))

    def _load(self, slot: int, transfers: list[Transfer]) -> None:
        """Load the weights of a pipeline on all its nodes at once."""
        if self._loading.get(slot) is not transfers:
            return  # it was dropped before
        each = self.weights / self.shape.gpus

        def done(transfer: Transfer) -> None:
            transfers.remove(transfer)
            if not transfers:
                del self._loading[slot]
                self.start_slot(slot, self.shape, self.batch, [])

        for node in sorted(self._nodes(slot)):
            count = sum(gpu // self.nodes.gpus == node for gpu in self.pipelines[slot])
            transfers.append(self.send(None, node, each * count, done))
