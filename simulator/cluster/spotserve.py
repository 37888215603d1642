"""SpotServe: all pipelines are put together anew whenever nodes leave or come, and requests go on where they were.

Source: Miao et al., SpotServe: Serving Generative Large Language Models on Preemptible Instances, ASPLOS 2024; with
its baseline Reparallelization, which chooses the same configurations and restarts everything.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeGuard

from simulator.cluster.regroup import Kept, deal
from simulator.cluster.relocation import Relocation
from simulator.cluster.reparallelise import (
    Configuration,
    Option,
    Placed,
    Traffic,
    best_configuration,
    extended,
    place,
    traffic,
)
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
    times between them. ``tie``: see ``best_configuration``. With notice, pipelines run on until the move just ends in
    time; it begins where the iterations in progress end, and each waits for its own last byte. Requests with the most
    tokens keep their KV if not all have room. Pipelines serve on while others of their shape only join them.

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
        tie: float = 0.05,
        window: int = 30 * PS_PER_S,
        restarts: bool = False,
        restart: int = 0,
    ) -> None:
        super().__init__(layouts, nodes, initial, changes, grace)
        self.options, self.weights, self.token_bytes = options, weights, token_bytes
        self.rate, self.cv, self.tie, self.window = rate, cv, tie, window
        self.restarts, self.restart = restarts, restart
        self.placed: Placed | None = None  # what GPUs hold
        self.configurations: list[tuple[int, Configuration | None]] = []  # with when each began to serve
        self._recent: deque[int] = deque()  # arrivals of the last window
        self._busy = self._again = False
        self._stops = 0  # slots that have still to stop, or to open
        self._kept: dict[int, list[Kept]] = {}  # by the pipeline that they were in
        self._began = 0
        self._move: Relocation | None = None  # while nobody serves, or not all do
        self._joining: Relocation | None = None  # while all serve, and other pipelines will join them

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
        self._open(target)

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
            self.options, len(self.usable) * self.nodes.gpus, rate, self.cv, len(self.cluster.instances), self.tie
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
        target = self._best()
        if self._joining is not None and target != self._joining.after.configuration:
            self._stay()
        placed = self.placed
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
        elif self._may_join(target):
            self._join(target)
            return
        self._alarm.set(when, ARRIVE)

    def lost(self, node: int) -> None:
        """Stop at once if a node in use is gone; what was on its way from it or to it has to come otherwise."""
        if not self._busy:
            if self.placed is not None and self._serving_with is not None and node in self.placed.nodes:
                self._stop()
            elif self._joining is not None:
                self._stay()
                self.changed()
            return
        if self._move is not None:
            if node in self._move.after.nodes:
                self._begin_anew(self._move)
            elif self._move.fetch_otherwise(node):
                # Some of the KV of the pipelines that it was in will never come.
                self._give_up(self._move.lose(lambda old: not self._whole(old)))
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
        self._stay()
        self._began = self.cluster.clock.time
        slots = range(self._serving_with.pipelines if self._serving_with is not None else 0)
        self._stops = len(slots)
        self._kept = {}
        for slot in slots:
            self.stop_slot(slot, partial(self._stopped, slot))
        if not slots:
            self.cluster.soon(self._relocate)

    def _stopped(self, slot: int, kept: list[Kept], others: list[Request]) -> None:
        self._kept[slot] = kept
        for request in others:
            self.again(request, keeps_tokens=not self.restarts)
        self._stops -= 1
        if not self._stops:
            self._relocate()

    def _relocate(self) -> None:
        """Choose for the nodes that are there now; send weights and KV to where they will be needed."""
        target = self._best()
        lost = [slot for slot in self._kept if target is None or self.restarts or not self._whole(slot)]
        self._give_up([each for slot in lost for each in self._kept.pop(slot)])
        if target is None:
            self._open(None)
            return
        pool = self.layouts[target.shape].fresh(self.cluster.instances[0].core.ledger, target.batch).kv
        batches, left = deal(self._kept, target, pool)
        self._give_up(left)
        sizes: dict[tuple[int, int], float] = {}
        for new, batch in batches.items():
            for old, each in batch:
                sizes[old, new] = sizes.get((old, new), 0.0) + each.request.computed * self.token_bytes
        before = None if self.restarts else self.placed
        after = place(target, self.usable, self.nodes.gpus, before, self.weights, sizes)
        self._move = move = Relocation(
            self, after, self._traffic(after, sizes), range(target.pipelines), self._opened, self._moved,
            batches=batches, token_bytes=self.token_bytes, began=self._began,
        )  # fmt: skip
        self._kept = {}
        if self.restarts and self.restart:
            self.at(self.cluster.clock.time + self.restart, lambda: move.send() if move is self._move else None)
        else:
            move.send()

    def _whole(self, slot: int) -> bool:
        assert self.placed is not None
        return all(gpu // self.nodes.gpus in self.present for gpu in self.placed.pipeline(slot))

    def _give_up(self, these: Iterable[Kept]) -> None:
        """Give up requests' KV."""
        for each in these:
            each.release()
            self.again(each.request, keeps_tokens=not self.restarts)

    def _opened(self, move: Relocation, slot: int, adopted: list[Request]) -> None:
        target = move.after.configuration
        if move.opened == 1:
            self.configurations.append((self.cluster.clock.time, target))
        self.start_slot(slot, target.shape, target.batch, adopted)

    def _moved(self, move: Relocation) -> None:
        self.placed, self._move = move.after, None
        self._open_all()

    def _open(self, target: Configuration | None) -> None:
        self.configurations.append((self.cluster.clock.time, target))
        if target is not None:
            for slot in range(target.pipelines):
                self.start_slot(slot, target.shape, target.batch, [])
        self._open_all()

    def _open_all(self) -> None:
        # After all of them have opened, wherever the iterations of the moment end.
        self.cluster.soon(lambda: self.cluster.soon(self._ready))

    def _ready(self) -> None:
        self._busy = False
        if self._again:
            self._again = False
            if not self.cluster.done:
                self.changed()
        self.give_up_hope()

    def _begin_anew(self, move: Relocation) -> None:
        """Call a move off whose target lost a node: nobody's KV is where it should be."""
        self._give_up(move.cancel())
        self._move = None
        if not move.opened:
            self.cluster.soon(self._relocate)
            return
        self.placed = move.reached()
        self._busy = False
        self._stop()

    # Pipelines that join others

    def _may_join(self, target: Configuration | None) -> TypeGuard[Configuration]:
        present = self._serving_with
        return (
            not (self.restarts or target is None or present is None)
            and target.pipelines > present.pipelines
            and (target.shape, target.batch) == (present.shape, present.batch)
        )

    def _join(self, target: Configuration) -> None:
        """Load the weights of further pipelines while the others serve, and open them."""
        if self._joining is not None or self.placed is None or self._serving_with is None:
            return
        after, joins = extended(self.placed, target, self.usable), range(self._serving_with.pipelines, target.pipelines)
        self._joining = Relocation(self, after, self._traffic(after, {}), joins, self._opened, self._joined)
        self._joining.send()

    def _joined(self, move: Relocation) -> None:
        self.placed, self._joining = move.after, None

    def _stay(self) -> None:
        """Let no more pipelines join."""
        if self._joining is not None:
            self._joining.cancel()
            if self._joining.opened:
                self.placed = self._joining.reached()
            self._joining = None
