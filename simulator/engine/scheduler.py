"""What a policy is to the engine: it sees queues and the KV pool, returns a plan, never touches time or hardware."""

from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from typing import Final, NamedTuple

from simulator.core import Request
from simulator.engine.decode_set import DecodeSet
from simulator.engine.kv_pool import KVPool

FOREVER: Final = 2**62


# A request, and how many of its prompt tokens (after those already in the cache) an iteration computes.
Chunk = tuple[Request, int]


class Plan(NamedTuple):
    """What the next iteration runs: these prompt chunks, and one token for every request in the decode set.

    ``horizon``: for how many iterations this stays the policy's decision if nothing arrives and nothing finishes; 1 is
    always right. The engine ends it sooner at the next finish, when KV blocks run out, or at a knot of the cost model.
    With chunks, more than 1 says that they end their prompts and that only decodes follow.
    ``arrivals_matter``: whether a request that arrives meanwhile could change the decision.
    ``outlives_finishes``: whether it also stands when requests finish, for those that go on (the horizon runs on);
    True is right for a policy with nobody waiting that lets all decode.
    """

    chunks: Sequence[Chunk] = ()
    horizon: int = 1
    arrivals_matter: bool = True
    outlives_finishes: bool = False


class Scheduler(ABC):
    """Base of all policies. The engine sets ``kv``, ``decodes`` and ``now`` (ps) before it asks anything."""

    kv: KVPool
    decodes: DecodeSet
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
