"""S-LoRA's own order: first come, first served, as far as the peak of memory allows."""

from simulator.core import Request
from simulator.scheduling.peak_tokens import PeakTokens
from simulator.scheduling.prompt_batches import PromptBatches
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler


class PeakBatches(PromptBatches):
    """Base of S-LoRA's policies: nobody starts who could make the batch overrun memory before its end.

    An oracle: clients declare the length of their outputs, as the benchmark of VTC's artifact does.
    """

    def __init__(self, max_num_seqs: int, max_num_batched_tokens: int, wait: int) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens, wait)
        self.peak = PeakTokens()

    def iterations_until_fits(self, request: Request) -> int:
        """Return after how many decode iterations the head fits; see ``PeakTokens``."""
        held, left = _lengths(request)
        room = self.kv.total * self.kv.block_size
        return self.peak.iterations_until_fits(held, left, self.decodes.iteration, room)

    def take(self, request: Request) -> None:
        """Count a request that starts."""
        self.peak.add(request, *_lengths(request), self.decodes.iteration)

    def gone(self, request: Request) -> None:
        """Discount a request that holds no memory any more."""
        self.peak.remove(request)


def _lengths(request: Request) -> tuple[int, int]:
    """Return the KV tokens of a request after its prompt, and how many it writes then."""
    return request.tokens, request.output_tokens - request.generated - 1


@scheduler("slora")
class SLoRA(PeakBatches):
    """Batches of whole prompts by arrival, ``wait`` decode iterations apart; the declared outputs always fit.

    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most prompt tokens of a batch; longer
    prompts fail. Outputs fit to the token where KV blocks are of one token; larger ones may force an eviction.
    """

    source = "Sheng et al., S-LoRA: Serving Thousands of Concurrent LoRA Adapters, MLSys 2024; slora/server/router"

    def __init__(self, *, max_num_seqs: int = 1000, max_num_batched_tokens: int = 8192, wait: int = 10) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens, wait)
        self.queue: ArrivalQueue = ArrivalQueue()

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def head(self) -> Request | None:
        """Return who waits longest."""
        return self.queue.peek() if self.queue else None

    def take(self, request: Request) -> None:
        """Take the head from the queue."""
        self.queue.pop()
        super().take(request)

    def put_back(self, request: Request) -> None:
        """Queue an evicted request before all others."""
        self.queue.push_front(request)
