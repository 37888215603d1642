"""ExeGPT's round-robin allocation: the same GPUs encode a batch of prompts, then decode for a number of iterations."""

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER
from simulator.scheduling.prompt_batches import PromptBatches
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler


@scheduler("exegpt")
class ExeGPT(PromptBatches):
    """Round-robin allocation: up to ``encode_batch`` prompts alone, then ``decode_iterations`` for all, and again.

    ``max_num_seqs``: most requests running at once. ``spare``: share of the KV blocks that is left to those that decode
    when a prompt starts. ``simulator.experiment.exegpt`` finds the numbers for a latency bound.
    """

    source = "Oh et al., ExeGPT: Constraint-Aware Resource Scheduling for LLM Inference, ASPLOS 2024"

    def __init__(
        self, *, encode_batch: int = 8, decode_iterations: int = 16, max_num_seqs: int = 256, spare: float = 0.05
    ) -> None:
        super().__init__(max_num_seqs, _ANY, decode_iterations)
        if encode_batch < 1:
            raise InputError(f"encode_batch is {encode_batch}", hint="1 or more")
        if not 0 <= spare < 1:
            raise InputError(f"spare is {spare}", hint="a share of the KV blocks: at least 0, less than 1")
        self.encode_batch = encode_batch
        self.spare = spare
        self.queue: ArrivalQueue = ArrivalQueue()
        self._taken = 0  # of the batch in the making

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def head(self) -> Request | None:
        """Return the request that waits longest, unless the batch is full."""
        return self.queue.peek() if self.queue and self._taken < self.encode_batch else None

    def take(self, request: Request) -> None:
        """Count a request for the batch."""
        self.queue.pop()
        self._taken += 1

    def put_back(self, request: Request) -> None:
        """Queue an evicted request before all others."""
        self.queue.push_front(request)

    def iterations_until_fits(self, request: Request) -> int:
        """Return 0 if a request leaves ``spare`` blocks to the others, else that it waits for one of them to end."""
        left = self.kv.free - self.kv.blocks_for(request.tokens)
        return 0 if left >= self.spare * self.kv.total else FOREVER

    def _looked(self, found: bool) -> None:
        super()._looked(found)
        self._taken = 0


_ANY = 2**40
