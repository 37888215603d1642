"""Requests between two configurations: taken out of their batches with their KV, and dealt to new pipelines."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from simulator.cluster.reparallelise import Configuration
from simulator.core import Request
from simulator.engine.core import EngineCore
from simulator.engine.kv_pool import KVPool


class Kept(NamedTuple):
    """A request that was taken out of its batch, and what holds its KV blocks there until it is released."""

    request: Request
    core: EngineCore
    holder: Request

    def release(self) -> None:
        """Free the blocks where the request was."""
        self.core.kv.release(self.holder)


def deal(
    kept: Mapping[int, Sequence[Kept]], target: Configuration, pool: KVPool
) -> tuple[dict[int, list[tuple[int, Kept]]], list[Kept]]:
    """Return by new pipeline who goes on there, and in which pipeline each was; and who finds no room.

    ``kept`` is by pipeline before, ``pool`` that of a new one. Those with the most tokens come first, and batches stay
    together as far as there are pipelines for them.
    """
    room = [pool.total] * target.pipelines
    batches: dict[int, list[tuple[int, Kept]]] = {new: [] for new in range(target.pipelines)}
    left: list[Kept] = []
    order = sorted(kept, key=lambda slot: (-sum(each.request.generated for each in kept[slot]), slot))
    for new, slot in enumerate(order):
        for each in sorted(kept[slot], key=lambda one: (-one.request.generated, one.request.index)):
            # The last token ends its request, and nobody reads its KV.
            blocks = pool.blocks_for(each.request.prompt_tokens + each.request.output_tokens - 1)
            able = [at for at in batches if len(batches[at]) < target.batch and blocks <= room[at]]
            if not able:
                left.append(each)
                continue
            at = new if new in able else max(able, key=lambda one: (room[one], -one))
            room[at] -= blocks
            batches[at].append((slot, each))
    return batches, left
