"""Weights and KV that lie in the host's memory or on disk, streamed to the GPU while it computes.

Source: Sheng et al., FlexGen, arXiv 2303.06865, sections 4.1 (zig-zag block schedule) and 4.2 (cost model).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.core import PS_PER_S, Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.packing import Packing
from simulator.cost.tabulated import Alike, TabulatedCost


@dataclass(frozen=True)
class Placement:
    """What of a GPU's share of a model lies where, in bytes and bytes a second.

    ``weights``: bytes that come over the host's link in each iteration, ``disk_weights`` of them from disk before.
    ``token``: bytes of a token's KV, ``kv_host`` and ``kv_disk`` the shares of it in the host's memory and on disk.
    ``link`` and ``back``: to the GPU and from it. ``attention``: at which rate the host computes attention over the KV
    that is not on the GPU; None: that KV comes to the GPU. ``packing``: what the GPU unpacks before it computes.
    """

    weights: float
    disk_weights: float
    token: float
    kv_host: float
    kv_disk: float
    link: float
    back: float
    disk_read: float
    disk_write: float
    attention: float | None
    packing: Packing | None = None

    def packing_s(self, passes: int, read: float, new: float) -> float:
        """Return seconds of unpacking weights in each pass and KV of ``read`` tokens, and of packing ``new`` tokens."""
        return 0.0 if self.packing is None else self.packing.seconds(passes, read, new)

    @property
    def kv_away(self) -> float:
        """Share of the KV that is not on the GPU."""
        return self.kv_host + self.kv_disk

    def read_s(self, context: float) -> tuple[float, float, float]:
        """Return seconds on the link, on disk and on the host's processor for one read of weights and KV tokens."""
        kv = context * self.token
        away = kv * self.kv_away
        link = self.weights + (away if self.attention is None else 0.0)
        disk = self.disk_weights + kv * self.kv_disk
        return (
            link / self.link,
            disk / self.disk_read if disk else 0.0,
            0.0 if self.attention is None else away / self.attention,
        )

    def written_s(self, tokens: float) -> tuple[float, float]:
        """Return seconds on the link back and on disk for the KV of new tokens."""
        kv = tokens * self.token
        disk = kv * self.kv_disk
        return kv * self.kv_away / self.back, disk / self.disk_write if disk else 0.0


class OffloadedCost(TabulatedCost):
    """Iterations of an engine that streams weights and KV, layer by layer, for the whole batch at once (zig-zag).

    Weights come once an iteration, however many passes of ``gpu_batch`` requests the GPU makes over a layer. Transfers
    and computing overlap, so the longest of them counts; layers are alike, so it is the same one in all. Not
    ``overlaps``: decodes wait for their weights, as FlexGen's own fitted cost model has it.
    """

    def __init__(
        self, cost: CostModel, placement: Placement, note: str, *, gpu_batch: int | None, overlaps: bool
    ) -> None:
        self._place = placement
        self._gpu_batch = gpu_batch
        self._overlaps = overlaps
        super().__init__(cost, note)

    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time of an iteration in which all decode."""
        place = self._place
        link, disk, host = place.read_s(context)
        back, kept = place.written_s(requests)
        computing = self._gpu_ps(requests, context, longest) / PS_PER_S + host
        computing += place.packing_s(self._passes(requests), context, requests)
        if self._overlaps:
            return PS_PER_S * max(link, disk, back, kept, computing)
        return PS_PER_S * (link + max(disk, back, kept, computing))

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        place = self._place
        before = sum(request.computed for request, _ in chunks)
        link, disk, host = place.read_s(context + before)
        back, kept = place.written_s(tokens + requests)
        on_gpu = self._on_gpu(requests, context)
        computing = self._cost.mixed(chunks, tokens, requests, on_gpu, decodes) / PS_PER_S + host
        computing += place.packing_s(self._passes(len(chunks) + requests), context + before, tokens + requests)
        return max(1, round(PS_PER_S * max(link, disk, back, kept, computing)))

    def _gpu_ps(self, requests: int, context: int, longest: int) -> float:
        passes = self._passes(requests)
        each = -(-requests // passes)
        here = max(self._on_gpu(requests, context) // passes, each)
        return float(passes * self._cost.decode_run(each, here, Alike(max(longest, -(-here // each))))[0])

    def _passes(self, requests: int) -> int:
        """Return how often the GPU goes over a layer."""
        return 1 if self._gpu_batch is None else -(-requests // self._gpu_batch)

    def _on_gpu(self, requests: int, context: int) -> int:
        """Return the KV tokens that the GPU's attention reads."""
        if self._place.attention is None:
            return context
        return max(requests, round(context * (1 - self._place.kv_away))) if requests else 0
