"""A prefix cache that goes on in the host's memory."""

from simulator.core import InputError, to_ps
from simulator.core.quantity import Bandwidth, Size
from simulator.cost.kv_memory import Held
from simulator.engine.kv_pool import KVPool
from simulator.engine.prefix_pool import PrefixPool
from simulator.engine.tiered_pool import TieredPool
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique


@technique("tiered_kv")
class TieredKv(Technique):
    """Finished prompts' KV is kept in ``host_memory`` a GPU too, and fetched over the link instead of computed again.

    ``link``: bandwidth to the GPU; none: the profile's PCIe. Writing to the host is hidden behind iterations; the
    iteration with a request's first chunk waits for what it fetches.
    """

    level = "engine"
    source = "Qin et al., Mooncake, FAST 2025, section 3; vLLM's KV offloading connector"
    changes = "prefixes found beyond the GPU's KV blocks; time on the host's link for what is fetched"
    exclusive = "tiers of the KV cache"

    def __init__(self, *, host_memory: Size, link: Bandwidth | None = None) -> None:
        self._size = host_memory
        self._link = link

    def pool(self, pool: KVPool, parts: Parts) -> KVPool:
        """Return the pool with a tier in the host's memory; as it was where no two requests share a prefix."""
        if not parts.spec.prefix_caching:
            raise InputError("a tier for prefixes without prefix caching", hint="prefix_caching: true")
        if not isinstance(pool, PrefixPool):
            return pool
        pcie = parts.profile.links.pcie
        rate = self._link or (pcie.bandwidth if pcie else 0.0)
        if not rate:
            raise InputError(f"the profile of {parts.profile.name} has no link to the host", hint="link: 25GB/s")
        token = Held.of(parts.model, parts.parallel).token
        return TieredPool(pool, int(self._size // (token * pool.block_size)), to_ps(token / rate))
