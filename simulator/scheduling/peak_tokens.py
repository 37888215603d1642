"""The most KV tokens that a batch will hold at once, as LightLLM's admission test has it."""

from bisect import bisect_left, insort
from itertools import accumulate

from simulator.core import Request
from simulator.engine.scheduler import FOREVER


class PeakTokens:
    """Running requests with the KV tokens they hold and the iteration in which each is expected to end.

    All of them write a token an iteration. Until the k-th last to end does, it and those that end after it hold what
    they do plus an iteration's worth each for every iteration till then: that sum stands still while they run, so the
    peak changes only when somebody comes or goes.

    Source: LightLLM, lightllm/server/router/req_queue.py; S-LoRA and VTC's artifact have the same test.
    """

    def __init__(self) -> None:
        # The last to end first: (minus the last iteration, index, held tokens minus the iteration they were held in).
        self._members: list[tuple[int, int, int]] = []
        self._entries: dict[Request, tuple[int, int, int]] = {}
        self.total = 0  # KV tokens if all ended together: no peak is higher

    def add(self, request: Request, held: int, left: int, now: int) -> None:
        """Add a request that holds so many KV tokens at iteration ``now`` and writes ``left`` more."""
        entry = (-now - left, request.index, held - now)
        insort(self._members, entry)
        self._entries[request] = entry
        self.total += held + left

    def remove(self, request: Request) -> None:
        """Remove a request; one that isn't there is no error."""
        if (entry := self._entries.pop(request, None)) is not None:
            del self._members[bisect_left(self._members, entry)]
            self.total -= entry[2] - entry[0]

    def iterations_until_fits(self, held: int, left: int, now: int, room: int) -> int:
        """Return after how many iterations the peak with one more request is at most ``room``; FOREVER if never.

        The request would hold ``held`` KV tokens when it starts and write ``left`` more. Those who run go on till then.
        """
        if self.total + held + left <= room:
            return 0
        ends = [-entry[0] for entry in self._members]
        sums = list(accumulate((entry[2] for entry in self._members), initial=0))
        count = len(ends)
        peaks = [rank * end + sums[rank] for rank, end in enumerate(ends, 1)]
        before = list(accumulate(peaks, max, initial=0))
        # What the request adds to those who end before it falls by 1 an iteration.
        after = [0] * (count + 1)
        after[count] = -FOREVER
        for rank in range(count - 1, -1, -1):
            after[rank] = max(after[rank + 1], peaks[rank] + ends[rank])
        # The later it starts, the fewer end after it: ``longer`` do.
        for longer in range(count - bisect_left(ends[::-1], now + left), -1, -1):
            if before[longer] > room:
                continue
            first = max(ends[longer] - now - left + 1 if longer < count else 0, after[longer] + held - now - room, 0)
            last = ends[longer - 1] - now - left if longer else FOREVER
            own = longer * (now + first) + (longer + 1) * left + sums[longer] + held
            if first <= last and own <= room:
                return first
        return FOREVER
