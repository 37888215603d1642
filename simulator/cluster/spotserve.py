"""SpotServe: all pipelines are put together anew whenever nodes leave or come, and requests go on where they were.

Source: Miao et al., SpotServe: Serving Generative Large Language Models on Preemptible Instances, ASPLOS 2024; with
its baseline Reparallelization, which chooses the same configurations and restarts everything.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from simulator.cluster.links import Transfer
from simulator.cluster.moves import Move
from simulator.cluster.regroup import Kept, deal
from simulator.cluster.reparallelise import Configuration, Option, Placed, Traffic, best_configuration, place, traffic
from simulator.cluster.spot import Change, Layout, Nodes, Spot
from simulator.core import Request
from simulator.core.units import PS_PER_S
from simulator.engine.clock import ARRIVE, Alarm

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class SpotServe(Spot):
    """Serves with the best configuration for the nodes there are; changes it before a node leaves, or as one comes.

    ``options``: what configurations are made of. ``weights``: bytes of the model; ``token_bytes``: of a token's KV.
    ``rate``: requests/s to configure for; None: those of the last ``window`` ps, looked at so often. ``cv``: of the
    times between them. With notice, pipelines run on until the move just ends in time; it begins where the iterations
    in progress end, and all wait for the last byte. Requests with the most tokens keep their KV if not all have room.

    ``restarts``: the baseline: run until the node is gone, then load all weights from storage, after ``restart`` ps,
    and serve all requests from their beginning.
    """

    def __init__(
        self,
        layouts: Iterable[Layout],
        nodes: Nodes,
        initial: int,
        changes: Sequence[Change],
        grace: int,
        *,
        options: Sequence[Option],
        weights: float,
        token_bytes: float,
        rate: float | None = None,
        cv: float = 1.0,
        window: int = 30 * PS_PER_S,
        restarts: bool = False,
        restart: int = 0,
    ) -> None:
        super().__init__(layouts, nodes, initial, changes, grace)
        self.options, self.weights, self.token_bytes = options, weights, token_bytes
        self.rate, self.cv, self.window = rate, cv, window
        self.restarts, self.restart = restarts, restart
        self.placed: Placed | None = None  # what GPUs hold
        self.configurations: list[tuple[int, Configuration | None]] = []  # with when each began to serve
        self._recent: deque[int] = deque()  # arrivals of the last window
        self._busy = self._again = False
        self._stops = 0  # slots that have still to stop, or to open
        self._kept: dict[int, list[Kept]] = {}  # by the pipeline that they were in
        self._transfers: dict[Transfer, tuple[int | None, int]] = {}
        self._began = self._sent_at = 0
        self._after: Placed | None = None  # where everything is on its way to
        self._batches: dict[int, list[tuple[int, Kept]]] = {}  # who goes there, by new pipeline, and from which one
        self._moved: dict[tuple[int, int], float] = {}

    def start(self, cluster: "Cluster") -> None:
        """Begin with the best configuration, its weights loaded; without a rate, with that for the least."""
        super().start(cluster)
        self._alarm = Alarm(cluster.clock, lambda _: self._stop())
        if self.rate is None:
            cluster.every(self.window, lambda _: self.changed())
        self._busy = True
        target = self._best()
        if target is not None:
            self.placed = place(target, self.usable, self.nodes.gpus, None, 0.0, {})
        self._open(target, {})

    def arrived(self, request: Request) -> None:
        """Send a request to a pipeline, and count it for the rate."""
        if self.rate is None and request.generated == 0 and request.instance < 0:
            self._recent.append(self.cluster.clock.time)
        super().arrived(request)

    def hope(self) -> bool:
        """Tell whether a pipeline is open or may be some day."""
        return super().hope() or self._busy or bool(self.open) or self._best() is not None

    # What to do

    def _best(self) -> Configuration | None:
        rate, now, recent = self.rate, self.cluster.clock.time, self._recent
        if rate is None:
            while recent and recent[0] <= now - self.window:
                recent.popleft()
            rate = len(recent) * PS_PER_S / self.window
        return best_configuration(
            self.options, len(self.usable) * self.nodes.gpus, rate, self.cv, len(self.cluster.instances)
        )

    @property
    def _serving_with(self) -> Configuration | None:
        return self.configurations[-1][1] if self.configurations else None

    def changed(self) -> None:
        """Stop in time for another configuration, if there is a better one or a node of this one leaves."""
        now = self.cluster.clock.time
        if self._busy:
            self._again = True
            return
        self._alarm.number = -1
        target, placed = self._best(), self.placed
        used = set() if placed is None or self._serving_with is None else placed.nodes
        if used - self.present:
            self._stop()
            return
        going = used & self.leaving.keys()
        if target == self._serving_with and not going:
            return
        when = now
        if going:
            when = min(self.leaving[node] for node in going)
            if not self.restarts:
                when = max(now, when - self._needs(target))
        self._alarm.set(when, ARRIVE)

    def lost(self, node: int) -> None:
        """Stop at once if a node in use is gone; what was on its way from it or to it has to come otherwise."""
        if not self._busy:
            if self.placed is not None and self._serving_with is not None and node in self.placed.nodes:
                self._stop()
            return
        if self._after is not None:
            if node in self._after.nodes:
                self._move_again()
            else:
                self._fetch_otherwise(node)
        self._again = True

    def _needs(self, target: Configuration | None) -> int:
        """Return how long a move would take at most, in ps, from the end of an iteration that has just begun."""
        if target is None or self.placed is None:
            return 0
        longest = max((request.prompt_tokens + request.output_tokens for slot in self.serving for request in slot),
                      default=0)  # fmt: skip
        before = self.placed.configuration
        size = before.batch * longest * self.token_bytes
        kept = {(at, at): size for at in range(min(before.pipelines, target.pipelines))}
        after = place(target, self.usable, self.nodes.gpus, self.placed, self.weights, kept)
        return self.layouts[before.shape].first_ps + self.longest_ps(self._traffic(after, kept).sent)

    def _traffic(self, after: Placed, kept: dict[tuple[int, int], float]) -> Traffic:
        before = None if self.restarts else self.placed
        return traffic(before, after, lambda node: node in self.present, self.weights, kept)

    # Doing it

    def _stop(self) -> None:
        """Empty all pipelines; go on when the last one is."""
        if self._busy or self.cluster.done:
            return
        self._busy = True
        self._alarm.number = -1
        self._began = self.cluster.clock.time
        slots = range(self._serving_with.pipelines if self._serving_with is not None else 0)
        self._stops = len(slots)
        self._kept = {}
        for slot in slots:
            self.stop_slot(slot, partial(self._stopped, slot))
        if not slots:
            self.cluster.soon(self._move)

    def _stopped(self, slot: int, kept: list[Kept], others: list[Request]) -> None:
        self._kept[slot] = kept
        for request in others:
            self.again(request, keeps_tokens=not self.restarts)
        self._stops -= 1
        if not self._stops:
            self._move()

    def _move(self) -> None:
        """Choose for the nodes that are there now; send weights and KV to where they will be needed."""
        target = self._best()
        if target is None:
            self._lose(list(self._kept))
            self._open(None, {})
            return
        self._lose([slot for slot in self._kept if self.restarts or not self._whole(slot)])
        pool = self.layouts[target.shape].fresh(self.cluster.instances[0].core.ledger, target.batch).kv
        batches, left = deal(self._kept, target, pool)
        for each in left:
            self._recompute(each)
        sizes: dict[tuple[int, int], float] = {}
        for new, batch in batches.items():
            for old, each in batch:
                sizes[old, new] = sizes.get((old, new), 0.0) + each.request.computed * self.token_bytes
        before = None if self.restarts else self.placed
        self._after = after = place(target, self.usable, self.nodes.gpus, before, self.weights, sizes)
        found = self._traffic(after, sizes)
        self._batches, self._moved = batches, found.moved
        self._sent_at = self.cluster.clock.time
        if self.restarts and self.restart:
            self.at(self._sent_at + self.restart, partial(self._send, found, after))
        else:
            self._send(found, after)

    def _whole(self, slot: int) -> bool:
        assert self.placed is not None
        return all(gpu // self.nodes.gpus in self.present for gpu in self.placed.pipeline(slot))

    def _lose(self, slots: Iterable[int]) -> None:
        """Give up the KV of pipelines."""
        for slot in slots:
            for each in self._kept.pop(slot, []):
                self._recompute(each)

    def _recompute(self, each: Kept) -> None:
        each.release()
        self.again(each.request, keeps_tokens=not self.restarts)

    def _send(self, found: Traffic, after: Placed) -> None:
        if self._after is not after:
            return  # meanwhile another move began
        for (source, node), size in sorted(found.sent.items(), key=lambda each: (each[0][0] or -1, each[0][1])):
            self._transfers[self.send(source, node, size, self._received)] = (source, node)
        if not self._transfers:
            self._moved_all(after)

    def _received(self, transfer: Transfer) -> None:
        del self._transfers[transfer]
        if not self._transfers and self._after is not None:
            self._moved_all(self._after)

    def _moved_all(self, after: Placed) -> None:
        """Note what moved, free it where it was, and open the new pipelines."""
        now, adopted = self.cluster.clock.time, dict[int, list[Request]]()
        for new, batch in self._batches.items():
            adopted[new] = []
            for old, each in batch:
                each.release()
                adopted[new].append(each.request)
                size = round(self._moved[old, new] * each.request.computed * self.token_bytes)
                if size:
                    index = each.request.index
                    self.cluster.moves.append(
                        Move("migration", index, old, new, self._began, self._sent_at, now, size, now - self._sent_at)
                    )
        self._kept, self._batches = {}, {}
        self.placed, self._after = after, None
        self._open(after.configuration, adopted)

    def _open(self, target: Configuration | None, adopted: dict[int, list[Request]]) -> None:
        self.configurations.append((self.cluster.clock.time, target))
        if target is not None:
            for slot in range(target.pipelines):
                self.start_slot(slot, target.shape, target.batch, adopted.get(slot, []))
        # After all of them have opened, wherever the iterations of the moment end.
        self.cluster.soon(lambda: self.cluster.soon(self._ready))

    def _ready(self) -> None:
        self._busy = False
        if self._again:
            self._again = False
            if not self.cluster.done:
                self.changed()
        self.give_up_hope()

    # When a node goes in the middle of it

    def _move_again(self) -> None:
        """Call all transfers off and begin anew: nobody's KV is where it should be."""
        for transfer in self._transfers:
            self.cluster.network.cancel(transfer)
        self._transfers.clear()
        self._lose_batches(lambda old: True)
        self._kept, self._after = {}, None
        self.cluster.soon(self._move)

    def _fetch_otherwise(self, node: int) -> None:
        """Fetch from storage what was still to come from a node; KV of pipelines with a part there is lost."""
        late = [(transfer, ends[1]) for transfer, ends in self._transfers.items() if ends[0] == node]
        if late:
            self._lose_batches(lambda old: not self._whole(old))
        for transfer, target in late:
            self.cluster.network.cancel(transfer)
            del self._transfers[transfer]
            self._transfers[self.send(None, target, transfer.size, self._received)] = (None, target)

    def _lose_batches(self, these: Callable[[int], bool]) -> None:
        for new, batch in self._batches.items():
            for old, each in batch:
                if these(old):
                    self._recompute(each)
            self._batches[new] = [(old, each) for old, each in batch if not these(old)]
