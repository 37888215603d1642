"""Requests that are sent when another one ends: a skeleton's points, a larger model's second try."""

from collections.abc import Callable, Iterable, Iterator
from heapq import heappop, heappush

from simulator.core import Request
from simulator.engine.clock import SEND, Clock, Moment


class FollowUps:
    """Sends each request that follows another at the moment this one ends.

    ``first`` are the requests that follow none. One whose predecessor failed fails as well (``fail`` hears of it).
    """

    def __init__(
        self,
        clock: Clock,
        requests: Iterable[Request],
        send: Callable[[Request], None],
        fail: Callable[[Request], None],
    ) -> None:
        self._clock = clock
        self._send = send
        self._fail = fail
        self._following: dict[int, list[Request]] = {}
        self._root: dict[int, int] = {}  # of each request that follows or is followed: the first of its task
        self._left: dict[int, int] = {}  # of each task: requests that have to end yet
        self._due: list[tuple[int, Request]] = []  # those to send at this moment, lowest index first
        first = []
        for request in requests:
            if request.after < 0:
                first.append(request)
            else:
                self._following.setdefault(request.after, []).append(request)
        self.first: Iterator[Request] = iter(first)
        for request in first:
            self._left[request.index] = self._enter(request, request.index)

    def ended(self, request: Request) -> bool:
        """Send what follows a request that ended; return whether its whole task is over."""
        for follower in self._following.pop(request.index, ()):
            if request.failure is None:
                heappush(self._due, (follower.index, follower))
                Moment(self._clock, self._clock.time, SEND, self._send_next)
            else:
                follower.failure = "the request that it follows failed"
                follower.arrival = follower.finished_at = self._clock.time
                self._fail(follower)
                self.ended(follower)
        root = self._root[request.index]
        self._left[root] -= 1
        return not self._left[root]

    def _send_next(self, moment: Moment) -> None:
        # By index, not by who ended first: at one moment that is a matter of how time is stepped.
        _, request = heappop(self._due)
        request.arrival = moment.at
        self._send(request)

    def _enter(self, request: Request, root: int) -> int:
        self._root[request.index] = root
        return 1 + sum(self._enter(follower, root) for follower in self._following.get(request.index, ()))
