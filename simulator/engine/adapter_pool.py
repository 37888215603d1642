"""LoRA adapters: a few slots on the GPU, and everybody else's in the host's memory."""

from collections import Counter

from simulator.core import InputError, Request
from simulator.engine.fetching import FetchingPool
from simulator.engine.kv_pool import KVPool


class AdapterPool(FetchingPool):
    """A pool that admits a request only with a slot for its adapter, the request's ``client``.

    An adapter stays in its slot while requests use it, and after that until its slot is needed: the longest unused goes
    first. One that is not there is loaded in ``load_ps``. Requests without a client need none, and one that was
    preempted comes back with its adapter even if all slots were taken meanwhile. InputError where a policy starts a
    request without asking whether it can be admitted, and there is no slot.
    """

    def __init__(self, pool: KVPool, slots: int, load_ps: int) -> None:
        if slots < 1:
            raise InputError(f"{slots} slots for adapters", hint="1 or more")
        super().__init__(pool)
        self._slots = slots
        self._load_ps = load_ps
        self._loaded: dict[int, None] = {}  # the longest unused first
        self._users: Counter[int] = Counter()
        self._using: dict[Request, int] = {}

    def can_admit(self, request: Request) -> bool:
        """Tell whether a waiting request fits, its adapter too."""
        return self._has_slot(request.client) and self.inner.can_admit(request)

    def admit(self, request: Request) -> None:
        """Give a waiting request its blocks and its adapter's slot; one that has to be loaded is waited for."""
        if not self._has_slot(request.client) and not request.preemptions:
            raise InputError(
                f"the policy starts requests without asking for one of the {self._slots} slots for their adapters",
                hint="more slots, or a policy that asks, such as vllm",
            )
        super().admit(request)
        if request.client >= 0 and not self._use(request):
            self.fetched[request] = (request.computed, self._load_ps)

    def adopt(self, request: Request, blocks: int) -> None:
        """Let a request hold blocks that were taken before, and its adapter's slot, loaded while the KV travelled."""
        super().adopt(request, blocks)
        if request.client >= 0:
            self._use(request)

    def release(self, request: Request, *, resumes: bool = False) -> None:
        """Take a request's blocks back, and its claim on the adapter's slot."""
        super().release(request, resumes=resumes)
        adapter = self._using.pop(request, -1)
        if adapter >= 0:
            self._users[adapter] -= 1
            self._loaded[adapter] = self._loaded.pop(adapter, None)
            self._make_room()

    def leave_behind(self, request: Request) -> Request:
        """Return a stand-in that holds what a request held here, the slot included."""
        stand_in = super().leave_behind(request)
        if request in self._using:
            self._using[stand_in] = self._using.pop(request)
        return stand_in

    def _use(self, request: Request) -> bool:
        """Use an adapter; return whether it was there."""
        adapter = self._using[request] = request.client
        there = adapter in self._loaded
        self._loaded.pop(adapter, None)
        self._loaded[adapter] = None
        self._users[adapter] += 1
        self._make_room()
        return there

    def _has_slot(self, adapter: int) -> bool:
        return adapter < 0 or self._users[adapter] > 0 or len(+self._users) < self._slots

    def _make_room(self) -> None:
        unused = (each for each in list(self._loaded) if not self._users[each])
        while len(self._loaded) > self._slots and (oldest := next(unused, None)) is not None:
            del self._loaded[oldest]
