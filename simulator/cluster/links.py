"""Links between GPUs, nodes and hosts: whatever travels them at one time shares them max-min fairly."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

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


@dataclass(eq=False)
class Transfer:
    """Bytes on their way over a path of links; ``done`` is called with it when the last byte has arrived."""

    path: tuple[Link, ...]
    size: float
    done: Callable[["Transfer"], None]
    started: int
    left: float = field(init=False)
    rate: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.left = self.size


class Network:
    """Carries transfers; whenever one begins or ends, all get their new max-min fair rates.

    Fair in the usual sense (progressive filling): all rates grow alike until a link is full, its transfers keep theirs,
    the others grow on.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._active: dict[Transfer, None] = {}
        self._since = 0  # ps, when ``left`` of all was right
        self._alarm = Alarm(clock, self._arrive)

    def send(self, path: Sequence[Link], size: float, done: Callable[[Transfer], None]) -> Transfer:
        """Let bytes travel a path from now on (after its latencies); return the transfer, which ``cancel`` takes."""
        # A link without limit never slows anything down.
        finite = tuple(link for link in path if link.bandwidth != float("inf"))
        transfer = Transfer(finite, size, done, self._clock.time)
        latency = sum(link.latency for link in path)
        if latency:
            Alarm(self._clock, lambda now: self._begin(transfer)).set(self._clock.time + latency, ARRIVE)
        else:
            self._begin(transfer)
        return transfer

    def cancel(self, transfer: Transfer) -> None:
        """Stop a transfer; ``done`` will not be called."""
        transfer.left = -1.0
        if transfer in self._active:
            self._advance()
            del self._active[transfer]
            self._share()

    @property
    def active(self) -> int:
        """How many transfers are on their way."""
        return len(self._active)

    def _begin(self, transfer: Transfer) -> None:
        if transfer.left < 0:
            return  # cancelled before its first byte left
        self._advance()
        self._active[transfer] = None
        self._share()

    def _arrive(self, now: int) -> None:
        self._advance()
        # What is left of a byte is rounding: times are whole picoseconds.
        arrived = [transfer for transfer in self._active if transfer.left <= transfer.rate / PS_PER_S]
        for transfer in arrived:
            del self._active[transfer]
            for link in transfer.path:
                link.carried += transfer.size
        self._share()
        for transfer in arrived:
            transfer.done(transfer)

    def _advance(self) -> None:
        """Count what all transfers carried since their rates were set."""
        now = self._clock.time
        elapsed = (now - self._since) / PS_PER_S
        self._since = now
        if elapsed:
            for transfer in self._active:
                transfer.left -= transfer.rate * elapsed

    def _share(self) -> None:
        """Set max-min fair rates, and the alarm for the next arrival."""
        if not self._active:
            return
        for transfer, rate in max_min_rates(self._active).items():
            transfer.rate = rate
        soonest = min(
            0 if transfer.rate == float("inf") else max(transfer.left, 0.0) / transfer.rate for transfer in self._active
        )
        self._alarm.set(self._clock.time + -int(-soonest * PS_PER_S // 1), ARRIVE)


def max_min_rates(transfers: Iterable[Transfer]) -> dict[Transfer, float]:
    """Return the max-min fair rate (bytes/s) of each transfer, in their order; without a link it is infinite.

    Progressive filling: the link that offers the smallest share to those still growing sets theirs, and so on.
    """
    rates = dict.fromkeys(transfers, float("inf"))
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
