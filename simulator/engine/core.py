"""One serving engine without its clock: applies a plan, keeps requests, blocks and the decode set in step."""

from simulator.core import Request
from simulator.engine.decode_set import DecodeSet
from simulator.engine.kv_pool import KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.scheduler import Plan, Scheduler


class EngineCore:
    """What happens to requests when iterations run; time is somebody else's (``Instance``).

    ``max_model_len``: most tokens (prompt and output) a request may have.
    """

    def __init__(self, kv: KVPool, scheduler: Scheduler, ledger: Ledger, max_model_len: int) -> None:
        self.kv = kv
        self.scheduler = scheduler
        self.ledger = ledger
        self.max_model_len = max_model_len
        # The last token of an output is never written to the cache.
        self._most_tokens = min(max_model_len, kv.total * kv.block_size + 1)
        self.decodes = DecodeSet(kv.block_size, ledger.add_span)
        kv.decodes = self.decodes
        scheduler.kv = kv
        scheduler.decodes = self.decodes

    def rejects(self, request: Request) -> str | None:
        """Return why a request can never be served here, or None."""
        tokens = request.prompt_tokens + request.output_tokens
        if tokens <= self._most_tokens:
            return None
        if tokens > self.max_model_len:
            return f"{tokens} tokens exceed the context limit of {self.max_model_len}"
        return f"needs {self.kv.blocks_for(tokens - 1)} KV blocks, the instance has {self.kv.total}"

    def plan(self, now: int) -> Plan:
        """Ask the policy for the next iteration at a time in ps."""
        self.scheduler.now = now
        plan = self.scheduler.plan()
        for request, _ in plan.chunks:
            if request.admitted_at < 0:
                request.admitted_at = now
                request.cached = request.computed
        return plan

    def complete(self, plan: Plan, iterations: int, now: int) -> list[Request]:
        """Account for iterations of a plan that ended at a time in ps; return the requests that finished."""
        finished = self.complete_decodes(iterations, iterations - 1, now)
        for request, tokens in plan.chunks:
            request.computed += tokens
            if request.computed == request.prompt_tokens + request.generated and self._prefilled(request):
                request.finished_at = now
                self.kv.release(request)
                self.scheduler.finished(request)
                finished.append(request)
            if request.first_token_at < 0 and request.generated:
                request.first_token_at = now
        return finished

    def complete_decodes(self, iterations: int, unpaid: int, now: int) -> list[Request]:
        """Account for decode iterations that ended at a time in ps; return the requests that finished.

        The KV blocks of the last ``unpaid`` of them are taken here, those before were taken by a plan.
        """
        decodes, kv = self.decodes, self.kv
        decodes.iteration += iterations
        if unpaid and (blocks := decodes.blocks_needed(decodes.iteration - unpaid, unpaid)):
            kv.take(blocks)
        finished = decodes.pop_finished()
        for request in finished:
            request.blocks = -(-request.computed // kv.block_size)
            request.finished_at = now
            kv.release(request)
            self.scheduler.finished(request)
        return finished

    def _prefilled(self, request: Request) -> bool:
        """Let a request whose prompt is done make its token and decode on; tell whether that token was its last."""
        request.generated += 1
        last = self.decodes.iteration - 1
        if request.generated == request.output_tokens:
            self.ledger.add_span(request.index, last, last, 0)
            return True
        self.decodes.add(request)
        request.span_start = last  # the prompt's last iteration made this token
        self.scheduler.prefilled(request)
        return False
