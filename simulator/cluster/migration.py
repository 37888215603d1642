"""Live migration: a decoding request goes to another instance while it makes tokens, but for the last few blocks.

Source: Sun et al., Llumnix, OSDI 2024, section 4.2: stages that each copy what was made since the one before, blocks
allocated at the target beforehand, and a last, short stage for which the request leaves its batch.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulator.cluster.links import Transfer
from simulator.cluster.moves import Move
from simulator.cluster.topology import Topology
from simulator.core import InputError, Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


@dataclass(frozen=True)
class Copying:
    """How KV is copied: over which links, bytes a token, and when to stop the request for the rest.

    ``last_blocks``: with so many KV blocks left, or after ``stages`` copies, the request leaves its batch.
    """

    topology: Topology
    token_bytes: float
    last_blocks: int = 16
    stages: int = 3

    def __post_init__(self) -> None:
        if self.last_blocks < 1 or self.stages < 1:
            raise InputError(
                f"migration of {self.stages} stages, the last of {self.last_blocks} blocks", hint="1 or more"
            )


class Migration:
    """One request on its way from ``source`` to ``target``, where it holds ``held`` blocks so far.

    ``done`` hears at its end whether it moved. It is given up, and its blocks at the target are freed, when the request
    finishes or is preempted on the way, or when the target has no room for the next stage.
    """

    def __init__(
        self,
        cluster: "Cluster",
        copying: Copying,
        request: Request,
        source: Instance,
        target: Instance,
        done: Callable[["Migration", bool], None],
    ) -> None:
        self.cluster, self.copying = cluster, copying
        self.request, self.source, self.target = request, source, target
        self._done = done
        self._asked = cluster.clock.time
        self._started = self._stopped = -1
        self._preemptions = request.preemptions
        self._copied = 0  # tokens whose KV is at the target
        self.held = 0  # blocks taken there for what comes
        self._stage = 0
        self._last = False
        self._over = False
        self._transfer: Transfer | None = None
        source.at_boundary(self._look)

    @property
    def stopped(self) -> bool:
        """Whether the request left its batch already."""
        return self._stopped >= 0

    def cancel(self) -> None:
        """Give up now, unless it ended before: an end of it is lost, or the request is to stay.

        One that has left its batch (``stopped``) is with nobody then: what becomes of it is the caller's to say.
        """
        if not self._over:
            if self._transfer is not None:
                self.cluster.network.cancel(self._transfer)
            self._over = True
            self._end()

    def _look(self) -> None:
        """See, between two iterations of the source, how much is left to copy; ask the target for room."""
        if self._over:
            return
        tokens = self._tokens()
        if tokens is None:
            self._give_up()
            return
        self._stage += 1
        size = self.source.core.kv.block_size
        self._last = tokens - self._copied <= self.copying.last_blocks * size or self._stage > self.copying.stages
        # Room for the token in the making and one more block: it grows until the last stage begins.
        blocks = self.target.core.kv.blocks_for(tokens + size) - self.held
        self.cluster.soon(lambda: self.target.when_room(lambda: self._claim(blocks, tokens)))

    def _claim(self, blocks: int, tokens: int) -> bool:
        """Take blocks at the target; copy a stage, or stop the request for the last one."""
        if self._over:
            return True
        kv = self.target.core.kv
        if blocks > kv.free:
            self._give_up()
            return True
        if blocks > 0:
            kv.take(blocks)
            self.held += blocks
        if self._last:
            self.cluster.soon(lambda: self.source.at_boundary(self._stop))
        else:
            size = self.source.core.kv.block_size
            self._copy(tokens // size * size)
        return True

    def _stop(self) -> None:
        """Take the request out of its batch and copy the rest."""
        if self._over:
            return
        tokens = self._tokens()
        if tokens is None:
            self._give_up()
        elif self.target.core.kv.blocks_for(tokens) > self.held:
            self._look()  # it grew by more than was foreseen while the source was busy
        else:
            self.source.core.scheduler.withdraw(self.request)
            self._stopped = self.cluster.clock.time
            self._copy(tokens)

    def _tokens(self) -> int | None:
        """Return how many tokens the request has in the source's cache; None if it no longer decodes there."""
        request, decodes = self.request, self.source.core.decodes
        if request not in decodes or request.preemptions != self._preemptions:
            return None
        return request.offset + decodes.iteration - 1

    def _copy(self, until: int) -> None:
        """Send the KV up to a token."""
        if self._started < 0:
            self._started = self.cluster.clock.time
        path = self.copying.topology.path(self.source.index, self.target.index)
        size = (until - self._copied) * self.copying.token_bytes
        self._copied = until
        self._transfer = self.cluster.network.send(path, size, self._copied_stage)

    def _copied_stage(self, transfer: Transfer) -> None:
        self._transfer = None
        if self.stopped:
            self._commit()
        else:
            self.source.at_boundary(self._look)

    def _commit(self) -> None:
        """Free the KV at the source, and let the request go on at the target."""
        request, now = self.request, self.cluster.clock.time
        self.source.let_go(request)
        request.instance = self.target.index
        kv = self.target.core.kv
        blocks = kv.blocks_for(request.computed)
        if self.held > blocks:
            self.target.give_back(self.held - blocks)
        kv.adopt(request, blocks)
        self.target.core.scheduler.adopt(request)
        self.target.wake()
        size = round(self._copied * self.copying.token_bytes)
        indices = self.source.index, self.target.index
        self.cluster.moves.append(
            Move("migration", request.index, *indices, self._asked, self._started, now, size, now - self._stopped)
        )
        self._over = True
        self._done(self, True)

    def _give_up(self) -> None:
        self._over = True
        self.cluster.soon(self._end)

    def _end(self) -> None:
        """Free what was taken at the target, and tell that the request did not move."""
        if self.held:
            self.target.give_back(self.held)
            self.held = 0
        self._done(self, False)
