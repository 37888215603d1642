"""A limit on each client's requests per minute, the usual guard of a service against greedy clients."""

from collections import deque
from heapq import heappop, heappush

from simulator.core import PS_PER_S, InputError, Request
from simulator.engine.scheduler import FOREVER, Plan
from simulator.scheduling.registry import scheduler
from simulator.scheduling.slora import PeakBatches

_MINUTE = 60 * PS_PER_S


class GateQueue:
    """Requests that wait, in the order in which their clients' limits let them in."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._heap: list[tuple[int, int, Request]] = []
        self._admitted: dict[int, deque[int]] = {}  # by client, the times (ps) of the last ``per_minute``
        self._count = 0
        self._front: list[Request] = []

    def __len__(self) -> int:
        return len(self._heap) + len(self._front)

    def push(self, request: Request) -> None:
        """Add a request: it counts from its arrival, or a minute after the client's one that is at the limit."""
        times = self._admitted.setdefault(request.client, deque(maxlen=self._per_minute))
        when = request.arrival
        if len(times) == self._per_minute:
            when = max(when, times[0] + _MINUTE)
        times.append(when)
        self._count += 1
        heappush(self._heap, (when, self._count, request))

    def push_front(self, request: Request) -> None:
        """Add a request that ran already."""
        self._front.append(request)

    def first(self) -> tuple[int, Request]:
        """Return the next request and the time (ps) from which it may start."""
        if self._front:
            return 0, self._front[-1]
        when, _, request = self._heap[0]
        return when, request

    def pop(self) -> None:
        """Take the next request."""
        if self._front:
            self._front.pop()
        else:
            heappop(self._heap)


@scheduler("rpm")
class RequestsPerMinute(PeakBatches):
    """``slora`` with at most ``requests_per_minute`` of each client let in within any minute; the rest wait.

    The real services that the paper has in mind turn them away; here they wait, so all work gets done some day.
    Other parameters are those of ``slora``.
    """

    source = "Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (the baseline RPM)"
    idles = True  # that is what the limit does

    def __init__(
        self,
        *,
        requests_per_minute: int = 30,
        max_num_seqs: int = 1000,
        max_num_batched_tokens: int = 8192,
        wait: int = 10,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens, wait)
        if requests_per_minute < 1:
            raise InputError(f"requests_per_minute is {requests_per_minute}", hint="1 or more")
        self.queue: GateQueue = GateQueue(requests_per_minute)

    def add(self, request: Request) -> None:
        """Queue a request behind its client's limit."""
        self.queue.push(request)

    def head(self) -> Request | None:
        """Return who was let in first."""
        if not self.queue:
            return None
        when, request = self.queue.first()
        return request if when <= self.now else None

    def take(self, request: Request) -> None:
        """Take the head from the queue."""
        self.queue.pop()
        super().take(request)

    def put_back(self, request: Request) -> None:
        """Queue an evicted request before all others."""
        self.queue.push_front(request)

    def until_changed(self, blocked: int) -> Plan:
        """Return that nobody starts before the head is let in, or fits."""
        when, _ = self.queue.first()
        # Who arrives may be let in before others who wait for their minute.
        return Plan(horizon=FOREVER, until=when) if when > self.now else Plan(horizon=blocked, arrivals_matter=False)
