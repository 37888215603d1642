"""Earliest deadline first, by the SLO."""

from simulator.core import Request, to_ps
from simulator.core.quantity import Duration, DurationOrZero
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.rank_heap import Rank
from simulator.scheduling.ranked import Ranked
from simulator.scheduling.registry import scheduler


@scheduler("edf")
class EDF(Ranked):
    """Whoever's next token is due first runs: the first at arrival + ``ttft``, each further one ``tpot`` later.

    Where slots are short, who runs gives way to one that is due ``lead`` earlier and waits with its KV (with 0, the
    batch changes with every token); memory is only taken back where those that run need more. ``max_num_seqs``: most
    requests running at once. ``max_num_batched_tokens``: most tokens an iteration computes.
    """

    source = "Liu and Layland, Scheduling Algorithms for Multiprogramming in a Hard-Real-Time Environment, JACM 1973, 7"
    starves = True  # before a request's own deadlines press, any number of others may go
    evicts = False

    def __init__(
        self,
        *,
        max_num_seqs: int = 256,
        max_num_batched_tokens: int = 8192,
        ttft: Duration = 0.5,
        tpot: Duration = 0.05,
        lead: DurationOrZero = 0.5,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens)
        self._ttft = to_ps(ttft)
        self._tpot = max(to_ps(tpot), 1)
        self._lead = to_ps(lead)

    def rank(self, request: Request) -> Rank:
        """Return when its next token is due (ps)."""
        return (request.arrival + self._ttft + self.made(request) * self._tpot,)

    def running_rank(self, request: Request) -> Rank:
        """Return the due time of one that runs, less the lead that another needs."""
        return (self.rank(request)[0] - self._lead,)

    def standing(self, request: Request) -> Rank:
        """Return the deadline without what all that run gain alike with every iteration."""
        return (-self.rank(request)[0] + self.decodes.iteration * self._tpot,)

    def horizon(self) -> int:
        """Return when the first that waits may have the place, or the memory, of the last that runs."""
        waiting, running = self.queue.first(), self._worst.first()
        if waiting is None or running is None:
            return FOREVER
        if not waiting.blocks and len(self.running) < self.max_num_seqs:
            return FOREVER  # it waits for memory, and only a finish frees any for those who have none
        ahead = int(self.queue.rank(waiting)[0] - self.running_rank(running)[0])
        if ahead < 0:
            # It comes before the last that runs, whose memory is not enough; with its own it may have others' as well.
            return 1 if waiting.blocks else FOREVER
        return ahead // self._tpot + 1
