"""Many fine-tuned variants of one model: LoRA adapters that share its weights."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from simulator.core import InputError, to_ps
from simulator.core.quantity import Bandwidth
from simulator.cost.adapters import AdapterSizes, AdapterTerms
from simulator.cost.kv_memory import Held
from simulator.cost.terms import Terms
from simulator.engine.adapter_pool import AdapterPool
from simulator.engine.kv_pool import KVPool
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.workload.generators.clients import Clients
from simulator.workload.table import Workload


@technique("lora")
class Lora(Technique):
    """Each request has one of ``adapters`` of ``rank``, the n-th in proportion to 1/n to the power of ``zipf``.

    An instance holds ``slots`` of them; others are loaded from the host's memory over ``link`` (none: the profile's
    PCIe) when a request is admitted, and a request waits while all slots are in use. A workload with clients keeps
    them: a client is an adapter then. Whoever waits for a slot holds up those behind it, as for memory; policies that
    reserve memory without asking the pool need a slot for each adapter. The router ``client_affinity`` keeps an
    adapter's requests together.
    """

    level = "engine"
    source = "Hu et al., LoRA, arXiv 2106.09685; Sheng et al., S-LoRA, arXiv 2311.03285, sections 5 and 6"
    changes = "thin products beside each of the model's; slots that bound who runs together; time to load adapters"
    exclusive = "adapters"

    def __init__(
        self,
        *,
        adapters: Annotated[int, Field(ge=1)] = 32,
        rank: Annotated[int, Field(ge=1)] = 16,
        slots: Annotated[int, Field(ge=1)] = 8,
        zipf: Annotated[float, Field(ge=0, le=20)] = 1.0,
        link: Bandwidth | None = None,
    ) -> None:
        self._adapters = adapters
        self._rank = rank
        self._slots = slots
        self._zipf = zipf
        self._link = link

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the workload with an adapter for each request, as its client."""
        if workload.client is not None:
            return workload
        made = Clients(count=self._adapters, zipf=self._zipf).apply(workload, rng)
        names = tuple(f"adapter-{n}" for n in range(1, self._adapters + 1))
        made = replace(made, clients=names)
        if made.follow_ups is None or made.client is None:
            return made
        # Whoever follows a request has the same adapter.
        client = made.client.copy()
        for row, after in enumerate(made.follow_ups.after.tolist()):
            if after >= 0:
                client[row] = client[after]
        return replace(made, client=client)

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with the adapters' products."""
        return AdapterTerms(terms, self._sizes(parts), _shares(parts.workload), parts.profile)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with the slots taken."""
        return held._replace(weights=held.weights + self._slots * self._sizes(parts).weight_bytes)

    def pool(self, pool: KVPool, parts: Parts) -> KVPool:
        """Return the pool with slots for adapters."""
        pcie = parts.profile.links.pcie
        rate = self._link or (pcie.bandwidth if pcie else 0.0)
        if not rate:
            raise InputError(f"the profile of {parts.profile.name} has no link to the host", hint="link: 25GB/s")
        return AdapterPool(pool, self._slots, to_ps(self._sizes(parts).weight_bytes / rate))

    def _sizes(self, parts: Parts) -> AdapterSizes:
        return AdapterSizes(parts.model, self._rank, parts.parallel.tensor)


def _shares(workload: Workload) -> NDArray[np.float64]:
    """Return how often each adapter is asked for."""
    if workload.client is None:
        return np.ones(1)
    counts = np.bincount(workload.client[workload.client >= 0])
    return np.asarray(counts[counts > 0] / max(counts.sum(), 1), np.float64)
