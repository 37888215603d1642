"""Links between GPUs, nodes and hosts: whatever travels them at one time shares them max-min fairly."""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import count
from math import ceil, inf

from simulator.core import InputError
from simulator.core.units import PS_PER_S
from simulator.engine.clock import ARRIVE, Alarm, Clock


class Link:
    """One direction of a link: ``bandwidth`` in bytes a second, ``latency`` in ps added to each transfer over it."""

    def __init__(self, name: str, bandwidth: float, latency: int = 0) -> None:
        if not bandwidth > 0 or latency < 0:
            raise InputError(
                f"link {name}: {bandwidth} B/s, latency {latency} ps", hint="bandwidth above 0 (inf: free)"
            )
        self.name = name
        self.bandwidth = bandwidth
        self.latency = latency
        self.carried = 0.0  # bytes of all transfers that ended

    def __repr__(self) -> str:
        return f"Link({self.name}, {self.bandwidth:g} B/s)"


class Transfer:
    """Bytes on their way over a path of links; ``done`` is called with it when the last byte has arrived.

    ``number``: of those sent over the network. ``left``: bytes at ``since`` (ps). ``ends``: ps, when it arrives at this
    rate; -1 before its first byte left.
    """

    def __init__(
        self, path: tuple[Link, ...], size: float, done: Callable[["Transfer"], None], started: int, number: int = 0
    ) -> None:
        self.path = path
        self.size = size
        self.done = done
        self.started = started
        self.number = number
        self.left = size
        self.rate = 0.0
        self.since = 0
        self.ends = -1


class Network:
    """Carries transfers; whenever one begins or ends, those that share links with it get their new max-min fair rates.

    Fair in the usual sense (progressive filling): all rates grow alike until a link is full, its transfers keep theirs,
    the others grow on. ``Link.carried`` counts what arrived.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on: dict[Link, dict[Transfer, None]] = {}
        # A heap by time, then as they were sent; an entry whose time is not ``ends`` is void.
        self._arrivals: list[tuple[int, int, int, Transfer]] = []
        self._entries = count()
        self._sent = 0
        self.active = 0  # transfers on their way
        self._alarm = Alarm(clock, self._arrive)

    def send(self, path: Sequence[Link], size: float, done: Callable[[Transfer], None]) -> Transfer:
        """Let bytes travel a path from now on (after its latencies); return the transfer, which ``cancel`` takes."""
        # A link without limit never slows anything down.
        finite = tuple(link for link in path if link.bandwidth != inf)
        self._sent += 1
        transfer = Transfer(finite, size, done, self._clock.time, self._sent)
        latency = sum(link.latency for link in path)
        if latency:
            Alarm(self._clock, lambda now: self._begin(transfer)).set(self._clock.time + latency, ARRIVE)
        else:
            self._begin(transfer)
        return transfer

    def cancel(self, transfer: Transfer) -> None:
        """Stop a transfer; ``done`` will not be called."""
        transfer.left = -1.0
        if transfer.ends >= 0:
            self._leave(transfer)
            self._share(transfer.path)
            self._wake()

    def _begin(self, transfer: Transfer) -> None:
        if transfer.left < 0:
            return  # cancelled before its first byte left
        transfer.since = self._clock.time
        self.active += 1
        for link in transfer.path:
            self._on.setdefault(link, {})[transfer] = None
        if all(len(self._on[link]) == 1 for link in transfer.path):
            self._expect(transfer, min((link.bandwidth for link in transfer.path), default=inf))
        else:
            self._share(transfer.path)
        self._wake()

    def _leave(self, transfer: Transfer) -> None:
        transfer.ends = -1
        self.active -= 1
        for link in transfer.path:
            del self._on[link][transfer]

    def _arrive(self, now: int) -> None:
        arrived = []
        while self._arrivals and self._arrivals[0][0] <= now:
            ends, _, _, transfer = heappop(self._arrivals)
            if transfer.ends == ends:
                self._leave(transfer)
                arrived.append(transfer)
        for transfer in arrived:
            for link in transfer.path:
                link.carried += transfer.size
            if any(self._on[link] for link in transfer.path):
                self._share(transfer.path)
        self._wake()
        for transfer in arrived:
            transfer.done(transfer)

    def _share(self, links: Sequence[Link]) -> None:
        """Set the rates of all that share a link with these, directly or through others."""
        on = self._on
        found: dict[Transfer, None] = {}
        reached = dict.fromkeys(links)
        ahead = list(reached)
        while ahead:
            for transfer in on.get(ahead.pop(), ()):
                if transfer not in found:
                    found[transfer] = None
                    ahead += [link for link in transfer.path if link not in reached]
                    reached.update(dict.fromkeys(transfer.path))
        for transfer, rate in max_min_rates(found).items():
            self._expect(transfer, rate)

    def _expect(self, transfer: Transfer, rate: float) -> None:
        """Go on with a transfer at a rate, and note when it arrives."""
        now = self._clock.time
        if rate == transfer.rate and transfer.ends >= 0:
            return
        transfer.left = max(transfer.left - transfer.rate * ((now - transfer.since) / PS_PER_S), 0.0)
        transfer.rate, transfer.since = rate, now
        # At least a picosecond: what is sent while one instance decides reaches no other one in the same moment.
        transfer.ends = now + (1 if rate == inf else max(ceil(transfer.left / rate * PS_PER_S), 1))
        heappush(self._arrivals, (transfer.ends, transfer.number, next(self._entries), transfer))

    def _wake(self) -> None:
        arrivals = self._arrivals
        while arrivals and arrivals[0][3].ends != arrivals[0][0]:
            heappop(arrivals)
        if arrivals:
            self._alarm.set(max(arrivals[0][0], self._clock.time), ARRIVE)


def max_min_rates(transfers: Iterable[Transfer]) -> dict[Transfer, float]:
    """Return the max-min fair rate (bytes/s) of each transfer, in their order; without a link it is infinite.

    Progressive filling: the link that offers the smallest share to those still growing sets theirs, and so on.
    """
    rates = dict.fromkeys(transfers, inf)
    growing: dict[Link, dict[Transfer, None]] = {}
    for transfer in rates:
        for link in transfer.path:
            growing.setdefault(link, {})[transfer] = None
    room = {link: link.bandwidth for link in growing}
    while growing:
        tightest = min(growing, key=lambda link: room[link] / len(growing[link]))
        share = max(room[tightest] / len(growing[tightest]), 0.0)
        for transfer in list(growing[tightest]):
            rates[transfer] = share
            for link in transfer.path:
                room[link] -= share
                del growing[link][transfer]
                if not growing[link]:
                    del growing[link]
    return rates
