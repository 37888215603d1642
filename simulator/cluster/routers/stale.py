"""A router that knows the instances only as they were at its last refresh."""

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from simulator.cluster.registry import ROUTERS, router
from simulator.cluster.router import Router
from simulator.core import InputError, Request, to_ps
from simulator.core.quantity import Duration
from simulator.engine.instance import Instance


@router("stale")
class Stale(Router):
    """Another router (``of``, with ``params``) that hears from the instances only every ``refresh``.

    What it sent itself it knows at once, and which instances are closed too; that requests ended or moved, and how many
    wait, it hears at the first request after the next multiple of ``refresh``.
    """

    def __init__(
        self, *, of: str = "least_outstanding", refresh: Duration = 0.1, params: dict[str, Any] | None = None
    ) -> None:
        self.inner = ROUTERS.make(of, params or {})
        if isinstance(self.inner, Stale) or type(self.inner).watch is not Router.watch:
            raise InputError(f"router {of} looks at the instances itself", hint="of: one that counts, such as least_kv")
        self._refresh = to_ps(refresh)
        self._news: deque[tuple[int, Callable[[], None]]] = deque()  # ps, and how the router would have heard
        self._period = 0

    @property
    def wants_queues(self) -> bool:
        """Whether the inner router wants to hear of queues."""
        return self.inner.wants_queues

    def start(self, instances: int, rng: np.random.Generator) -> None:
        """Begin with all instances idle."""
        super().start(instances, rng)
        self.inner.start(instances, rng)

    def watch(self, instances: Sequence[Instance]) -> None:
        """Take the time from the instances' clock."""
        self._clock = instances[0].clock

    def route(self, request: Request) -> int:
        """Return what the other router picks, by what was known at the last refresh."""
        period = self._clock.time // self._refresh
        if period != self._period:
            self._period = period
            while self._news and self._news[0][0] <= period * self._refresh:
                self._news.popleft()[1]()
        return self.inner.route(request)

    def sent(self, index: int, request: Request) -> None:
        """Pass on what it sent itself."""
        self.inner.sent(index, request)

    def ended(self, index: int, request: Request) -> None:
        """Keep the news until the next refresh."""
        self._later(partial(self.inner.ended, index, request))

    def queued(self, index: int, waiting: int) -> None:
        """Keep the news until the next refresh."""
        self._later(partial(self.inner.queued, index, waiting))

    def moved(self, source: int, target: int, request: Request) -> None:
        """Keep the news until the next refresh."""
        self._later(partial(self.inner.moved, source, target, request))

    def closed(self, index: int) -> None:
        """Pass on at once: health checks are another channel."""
        self.inner.closed(index)

    def opened(self, index: int) -> None:
        """Pass on at once."""
        self.inner.opened(index)

    def _later(self, hear: Callable[[], None]) -> None:
        self._news.append((self._clock.time, hear))
