"""The instance that saw the session, or the prefix, before."""

from abc import abstractmethod
from collections.abc import Hashable

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast
from simulator.core import InputError, Request


class Affinity(ByLeast):
    """Keeps requests of one key on one instance, as long as that one is not overloaded.

    A key's home is the instance with the fewest requests outstanding when the key was first seen. While its home has
    more than ``max_imbalance`` times the mean number outstanding (and more than 1), its requests go to the least loaded
    instance, which becomes its home (so do those of a closed home). Without a key they go to the least loaded instance.
    """

    def __init__(self, *, max_imbalance: float = 2.0) -> None:
        if not max_imbalance >= 1:
            raise InputError(f"max_imbalance is {max_imbalance}, it must be at least 1")
        self.max_imbalance = max_imbalance
        self._homes: dict[Hashable, int] = {}
        self._outstanding = 0

    @abstractmethod
    def key(self, request: Request) -> Hashable:
        """Return what a request shares with others, or None."""

    def route(self, request: Request) -> int:
        """Return the home of the request's key, or the least loaded instance."""
        self._outstanding += 1
        key = self.key(request)
        if key is None:
            return self._least.choose(1)
        home = self._homes.get(key)
        if home is None or home in self.shut or self._overloaded(home):
            home = self._homes[key] = self._least.choose(1)
        else:
            self._least.add(home, 1)
        return home

    def _overloaded(self, index: int) -> bool:
        load = self._least.value(index)
        return load > 1 and load * self.instances > self.max_imbalance * self._outstanding

    def ended(self, index: int, request: Request) -> None:
        """Count a request no more."""
        self._outstanding -= 1
        self._least.add(index, -1)

    def moved(self, source: int, target: int, request: Request) -> None:
        """Count a request where it goes on."""
        self._least.add(source, -1)
        self._least.add(target, 1)


@router("session_affinity")
class SessionAffinity(Affinity):
    """All requests of a session on one instance, unless it is overloaded."""

    def key(self, request: Request) -> Hashable:
        """Return the session, or None."""
        return request.session if request.session >= 0 else None


@router("client_affinity")
class ClientAffinity(Affinity):
    """All requests of a client (or of a LoRA adapter) on one instance, unless it is overloaded."""

    def key(self, request: Request) -> Hashable:
        """Return the client, or None."""
        return request.client if request.client >= 0 else None


@router("prefix_affinity")
class PrefixAffinity(Affinity):
    """All requests with the same first ``depth`` prefix segments on one instance, unless it is overloaded."""

    def __init__(self, *, depth: int = 4, max_imbalance: float = 2.0) -> None:
        super().__init__(max_imbalance=max_imbalance)
        if depth < 1:
            raise InputError(f"depth is {depth}, it must be at least 1")
        self.depth = depth

    def key(self, request: Request) -> Hashable:
        """Return the content of the prompt up to that depth, or None."""
        segments = request.segments
        return segments[min(self.depth, len(segments)) - 1].id if segments else None
