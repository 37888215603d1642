"""Weights and KV on their way to new places: each pipeline opens as soon as its own nodes have all that they need.

Source: Miao et al., SpotServe, ASPLOS 2024, section 3.4: instances start as soon as their context is there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from simulator.cluster.links import Transfer
from simulator.cluster.moves import Move
from simulator.cluster.regroup import Kept
from simulator.cluster.reparallelise import Placed, Traffic
from simulator.core import Request

if TYPE_CHECKING:
    from simulator.cluster.spot import Spot


class Relocation:
    """What moves to a placement, and which of its pipelines are still closed.

    ``batches``: who goes on in each new pipeline, and in which one each was; ``began``: when they were stopped (ps).
    ``opens`` hears of each pipeline that has all it needs, with the requests that are there; ``ends`` of the last one.
    """

    def __init__(
        self,
        front: "Spot",
        after: Placed,
        plan: Traffic,
        closed: Iterable[int],
        opens: Callable[["Relocation", int, list[Request]], None],
        ends: Callable[["Relocation"], None],
        *,
        batches: Mapping[int, Sequence[tuple[int, Kept]]] | None = None,
        token_bytes: float = 0.0,
        began: int = 0,
    ) -> None:
        self.after = after
        self.closed = dict.fromkeys(closed)
        self.opened = 0
        self._front, self._plan = front, plan
        self._opens, self._ends = opens, ends
        self._batches = {} if batches is None else {new: list(batch) for new, batch in batches.items()}
        self._token_bytes, self._began = token_bytes, began
        self._planned = front.cluster.clock.time
        self._transfers: dict[Transfer, tuple[int | None, int]] = {}

    def send(self) -> None:
        """Let everything leave at once."""
        for (source, node), size in sorted(self._plan.sent.items(), key=lambda each: (each[0][0] or -1, each[0][1])):
            self._transfers[self._front.send(source, node, size, self._received)] = (source, node)
        self._open()

    def fetch_otherwise(self, node: int) -> bool:
        """Fetch from storage what was still to come from a node that is gone; return whether there was any."""
        late = [(transfer, target) for transfer, (source, target) in self._transfers.items() if source == node]
        for transfer, target in late:
            self._front.cluster.network.cancel(transfer)
            del self._transfers[transfer]
            self._transfers[self._front.send(None, target, transfer.size, self._received)] = (None, target)
        return bool(late)

    def lose(self, these: Callable[[int], bool]) -> list[Kept]:
        """Return who has not arrived yet of some pipelines before, and expect them no more."""
        lost = [each for batch in self._batches.values() for old, each in batch if these(old)]
        self._batches = {
            new: [(old, each) for old, each in batch if not these(old)] for new, batch in self._batches.items()
        }
        return lost

    def cancel(self) -> list[Kept]:
        """Call off what is still on its way; return who has not arrived."""
        for transfer in self._transfers:
            self._front.cluster.network.cancel(transfer)
        self._transfers.clear()
        return self.lose(lambda old: True)

    def reached(self) -> Placed:
        """Return the placement with GPU -1 (of no node) wherever a pipeline is closed, for it may lack anything."""
        each, after = self.after.configuration.shape.gpus, self.after
        gpus = (-1 if at // each in self.closed else gpu for at, gpu in enumerate(after.gpus))
        return Placed(after.configuration, tuple(gpus), after.size)

    def _received(self, transfer: Transfer) -> None:
        del self._transfers[transfer]
        self._open()

    def _open(self) -> None:
        waiting, size = {node for _, node in self._transfers.values()}, self.after.size
        for slot in list(self.closed):
            if waiting.isdisjoint(gpu // size for gpu in self.after.pipeline(slot)):
                del self.closed[slot]
                self.opened += 1
                self._opens(self, slot, self._arrived(slot))
        if not self.closed:
            self._ends(self)

    def _arrived(self, slot: int) -> list[Request]:
        """Note what moved to a pipeline, and free it where it was."""
        front, adopted = self._front, list[Request]()
        now = front.cluster.clock.time
        for old, each in self._batches.pop(slot, ()):
            each.release()
            request = each.request
            adopted.append(request)
            size = round(self._plan.moved[old, slot] * request.computed * self._token_bytes)
            if size:
                start, end = self._began, self._planned
                front.cluster.moves.append(
                    Move("migration", request.index, old, slot, start, end, now, size, now - end)
                )
        return adopted
