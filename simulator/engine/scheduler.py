"""What a policy is to the engine: it sees queues and the KV pool, returns a plan, never touches time or hardware."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence, Sized
from typing import ClassVar, Final, NamedTuple

from mypy_extensions import mypyc_attr

from simulator.core import Request
from simulator.engine.decode_set import DecodeSet
from simulator.engine.estimates import Estimates
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import KVPool

FOREVER: Final = 2**62


# A request, and how many of its prompt tokens (after those already in the cache) an iteration computes.
Chunk = tuple[Request, int]


class Extras(NamedTuple):
    """What an iteration does beside computing its chunks and one token for every request in the decode set.

    ``decodes_wait``: the decode set sits this iteration out (which must have chunks, and takes no blocks for decodes).
    ``idle``: slots of the batch that decode for nobody, reading ``idle_context`` KV tokens in the first iteration; with
    any, an iteration runs even if nobody else is in it.
    ``padded``: the chunks as they are computed, where they are longer than ``Plan.chunks`` (else None).
    ``moved``: KV tokens that are swapped over the host link before the iteration begins, while it waits; with it, a
    plan's horizon is 1.
    """

    decodes_wait: bool = False
    idle: int = 0
    idle_context: int = 0
    padded: Sequence[Chunk] | None = None
    moved: int = 0


class Plan(NamedTuple):
    """What the next iteration runs: these prompt chunks, and one token for every request in the decode set.

    ``horizon``: for how many iterations this stays the policy's decision if nothing arrives and nothing finishes; 1 is
    always right. The engine ends it sooner at the next finish, when KV blocks run out, or at a knot of the cost model.
    With chunks, more than 1 says that they end their prompts and that only decodes follow.
    ``arrivals_matter``: whether a request that arrives meanwhile could change the decision.
    ``outlives_finishes``: whether it also stands when requests finish, for those that go on (the horizon runs on);
    True is right for a policy with nobody waiting that lets all decode.
    ``until``: a time (ps, after now) from which on it is no longer the policy's decision: it is asked again where the
    iteration then in progress ends, or at that time if nothing runs.
    ``extras``: what else the iteration does; None for nothing.
    """

    chunks: Sequence[Chunk] = ()
    horizon: int = 1
    arrivals_matter: bool = True
    outlives_finishes: bool = False
    until: int = FOREVER
    extras: Extras | None = None


@mypyc_attr(allow_interpreted_subclasses=True)
class Scheduler(ABC):
    """Base of all policies. The engine sets ``kv``, ``decodes`` and ``now`` (ps) before it asks anything.

    ``host``: the host's memory for swapped KV blocks. ``estimates``: what iterations would take, for policies that rank
    by a profile of the engine. ``holds_back``: whether ``deliver`` decides when finished requests are answered.

    A class tells where it comes from (``source``: authors, title, venue) and what it does not promise: ``idles``, it
    may run nothing though somebody waits; ``starves``, a stream of others may keep a request waiting for ever.
    ``recomputes``: a request that is added with tokens made already has them computed again, after its prompt.
    ``adopts``: requests can come with their KV (``adopt``), wait for a slot in ``adopted``, and leave with it
    (``withdraw``).
    """

    source: ClassVar[str] = ""
    idles: ClassVar[bool] = False
    starves: ClassVar[bool] = False
    recomputes: ClassVar[bool] = True
    adopts: ClassVar[bool] = False
    holds_back: ClassVar[bool] = False

    kv: KVPool
    decodes: DecodeSet
    adopted: Collection[Request] = ()
    host: HostMemory
    estimates: Estimates
    now: int = 0
    queue: Sized  # the requests that wait, in whatever container: the engine reads only how many
    preempted: int = 0  # preemptions since the engine last looked
    longest_prompt: int = FOREVER  # in tokens; requests with a longer one fail when they come

    @abstractmethod
    def add(self, request: Request) -> None:
        """Take in a request that arrived, or came back."""

    @abstractmethod
    def plan(self) -> Plan:
        """Decide the next iteration: admit, preempt, chunk. Blocks for it must be taken from ``kv`` here."""

    @abstractmethod
    def finished(self, request: Request) -> None:
        """Hear that a request made its last token; the engine has taken its blocks back.

        With an ``admission_lag`` this comes after the next plan, and so do the blocks; ``finished_at`` tells before. A
        policy that released such a request in need hears of it all the same.
        """

    def adopt(self, request: Request) -> None:
        """Take in a request that decodes and holds its KV blocks here already; only with ``adopts``."""
        raise NotImplementedError

    def withdraw(self, request: Request) -> None:
        """Take a decoding request out, which leaves with its KV, and forget it; only with ``adopts``."""
        raise NotImplementedError

    def promised(self, used: int) -> int:
        """Return the KV blocks that those who run already will surely take in later iterations, beside ``used`` ones.

        ``used`` are the blocks in use in the iteration in progress, of which a policy does not hear between its plans.
        """
        return 0

    def deliver(self, requests: list[Request]) -> list[Request]:
        """Return which requests are answered now, of those that made their last token and of those held back before.

        Only asked with ``holds_back``. A request held back keeps its KV blocks.
        """
        return requests
