"""Weights and KV in the host's memory or on disk, for models that no GPU at hand can hold."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from simulator.core import InputError
from simulator.core.quantity import Bandwidth, Size
from simulator.cost.base import CostModel
from simulator.cost.kv_memory import Held, room
from simulator.cost.offload import OffloadedCost, Placement
from simulator.cost.packing import STORED_BYTES, Packing
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import before_speculation
from simulator.model import Precision

Share = Annotated[float, Field(ge=0, le=1)]
_COMPUTED_BYTES = 2.0  # of a number as the GPU computes with it


@technique("offloading")
class Offloading(Technique):
    """Shares of weights and KV in the host's memory (``*_host``) and on disk (``*_disk``), streamed to the GPU.

    Each iteration streams the weights once for the whole batch, while the GPU computes (zig-zag schedule); the longest
    of computing and transfers counts, or with ``overlaps: false`` decodes wait for their weights. ``attention: host``:
    the host computes attention over the KV it holds, at ``host_bandwidth``. ``link`` to the GPU and ``back`` default to
    the profile's PCIe. ``host_memory`` and ``disk`` are a GPU's; they bound the KV blocks. ``gpu_batch``: requests of
    one pass over a layer; none: all. ``compress_weights``, ``compress_kv``: kept and sent in groups of 64 4-bit
    numbers; the GPU unpacks weights for each pass and KV for each iteration, and computes in 16 bit.
    """

    level = "engine"
    source = "Sheng et al., FlexGen, arXiv 2303.06865, sections 4.1, 4.2 and 5"
    changes = "iterations take at least what streaming takes; KV blocks follow from the host's memory and the disk"
    exclusive = "place of the weights"

    def __init__(
        self,
        *,
        weights_host: Share = 0.0,
        weights_disk: Share = 0.0,
        kv_host: Share = 0.0,
        kv_disk: Share = 0.0,
        attention: Literal["gpu", "host"] = "gpu",
        host_bandwidth: Bandwidth | None = None,
        link: Bandwidth | None = None,
        back: Bandwidth | None = None,
        disk_read: Bandwidth | None = None,
        disk_write: Bandwidth | None = None,
        host_memory: Size | None = None,
        disk: Size | None = None,
        gpu_batch: Annotated[int, Field(ge=1)] | None = None,
        overlaps: bool = True,
        compress_weights: bool = False,
        compress_kv: bool = False,
    ) -> None:
        for what, host, away in (("weights", weights_host, weights_disk), ("KV", kv_host, kv_disk)):
            if host + away > 1:
                raise InputError(f"{host:g} of the {what} in the host's memory and {away:g} on disk are more than all")
        if not (weights_host + weights_disk + kv_host + kv_disk or compress_weights or compress_kv):
            raise InputError("nothing is offloaded or compressed", hint="weights_host: 0.5, for one")
        if weights_disk + kv_disk and None in (disk_read, disk_write, disk):
            raise InputError("what lies on disk needs disk, disk_read and disk_write", hint="disk_read: 2650MB/s")
        if host_memory is None:
            raise InputError("host_memory is missing: how much the host has for each GPU", hint="host_memory: 200GB")
        if attention == "host" and (host_bandwidth is None or not kv_host + kv_disk):
            raise InputError("attention on the host needs KV there, and host_bandwidth at which it is computed")
        if attention == "host" and compress_kv:
            raise InputError("attention on the host reads KV in 16 bit", hint="leave out attention or compress_kv")
        self._weights = (weights_host, weights_disk)
        self._kv = (kv_host, kv_disk)
        self._attention = host_bandwidth if attention == "host" else None
        self._link, self._back = link, back
        self._disk_rates = (disk_read or 0.0, disk_write or 0.0)
        self._room = (host_memory, disk or 0.0)
        self._gpu_batch = gpu_batch
        self._overlaps = overlaps
        self._packed = (compress_weights, compress_kv)

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Refuse to come after speculative decoding, whose steps it changes."""
        before_speculation("offloading", before)

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return iterations with streaming."""
        computed = Held.of(parts.model, parts.parallel)
        stored = self._stored(computed)
        pcie = parts.profile.links.pcie
        link = self._link or (pcie.bandwidth if pcie else 0.0)
        if not link:
            raise InputError(f"the profile of {parts.profile.name} has no link to the host", hint="link: 16GB/s")
        host, disk = self._weights
        placement = Placement(
            stored.weights * (host + disk),
            stored.weights * disk,
            stored.token,
            *self._kv,
            link,
            self._back or link,
            *self._disk_rates,
            self._attention,
            self._packing(computed, parts),
        )
        note = f"offloading: {host:.0%} of weights and {self._kv[0]:.0%} of KV in host memory, "
        note += f"{disk:.0%} and {self._kv[1]:.0%} on disk"
        packed = [what for what, are in zip(("weights", "KV"), self._packed, strict=True) if are]
        note += f"; {' and '.join(packed)} in groups of 4-bit numbers" if packed else ""
        return OffloadedCost(cost, placement, note, gpu_batch=self._gpu_batch, overlaps=self._overlaps)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return what stays on the GPU; a token counts for as much as makes KV blocks fit host memory and disk too."""
        host, disk = self._weights
        stored = self._stored(held)
        weights = stored.weights * (1 - host - disk)
        if host + disk:
            weights += 2 * stored.weights / parts.model.layers  # the layer that computes, and the next one
        if self._packed[0]:
            weights += held.weights / parts.model.layers  # the layer that computes, unpacked
        free = room(parts.profile, parts.engine, parts.build, weights, parts.spec.gpu_memory_utilization)
        token = stored.token * (1 - sum(self._kv))
        for share, size, taken in zip(self._kv, self._room, self._weights, strict=True):
            left = size - taken * stored.weights
            if left < 0:
                raise InputError(
                    f"{taken * stored.weights / 1e9:.0f} GB of weights do not fit into {size / 1e9:.0f} GB",
                    hint="more of them elsewhere",
                )
            if share and free > 0:
                token = max(token, free * stored.token * share / max(left, 1.0))
        return Held(weights, token)

    def _stored(self, held: Held) -> Held:
        """Return what weights and a token's KV take where they are kept and sent."""
        weights, token = (STORED_BYTES / _COMPUTED_BYTES if packed else 1.0 for packed in self._packed)
        return Held(held.weights * weights, held.token * token)

    def _packing(self, held: Held, parts: Parts) -> Packing | None:
        """Return what the GPU unpacks; InputError if that is in fewer than 16 bit already."""
        weights, kv = self._packed
        if not weights and not kv:
            return None
        precision = parts.model.precision
        if (weights and replace(precision, kv="bfloat16") != Precision()) or (kv and precision.kv != "bfloat16"):
            raise InputError("what offloading compresses is quantized already", hint="leave out one of the two")
        numbers = Held(held.weights / _COMPUTED_BYTES, held.token / _COMPUTED_BYTES)
        bandwidth = parts.profile.elementwise.bandwidth
        return Packing(numbers.weights * weights, numbers.token * kv, bandwidth)
