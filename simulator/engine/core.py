"""One serving engine without its clock: applies a plan, keeps requests, blocks and the decode set in step."""

from collections.abc import Sequence

from simulator.core import InputError, Request
from simulator.engine.decode_set import DecodeSet
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.scheduler import Chunk, Scheduler


class EngineCore:
    """What happens to requests when iterations run; time is somebody else's (``Instance``).

    ``max_model_len``: most tokens (prompt and output) a request may have. ``host``: memory for swapped KV blocks; None:
    there is none. ``shared_once``: decodes read KV blocks that requests share once an iteration, not once each.
    """

    def __init__(
        self,
        kv: KVPool,
        scheduler: Scheduler,
        ledger: Ledger,
        max_model_len: int,
        *,
        host: HostMemory | None = None,
        shared_once: bool = False,
    ) -> None:
        self.kv = kv
        self.shared_once = shared_once
        self.scheduler = scheduler
        self.ledger = ledger
        self.max_model_len = max_model_len
        # The last token of an output is never written to the cache.
        self.most_tokens = min(max_model_len, kv.total * kv.block_size + 1)
        self.decodes = DecodeSet(kv.block_size, ledger.add_packed_span)
        # Requests that ended and of which the policy shall hear later (``hear``); None: it hears at once.
        self.unheard: list[Request] | None = None
        if not hasattr(scheduler, "queue"):
            hint = "set self.queue in its constructor to the container of waiting requests"
            raise InputError(f"scheduler {type(scheduler).__name__} has no queue", hint=hint)
        kv.decodes = self.decodes
        scheduler.kv = kv
        scheduler.decodes = self.decodes
        scheduler.host = host or HostMemory(kv)

    def why_not(self, request: Request) -> str:
        """Return why a request with more than ``most_tokens``, or too long a prompt, can never be served here."""
        tokens = request.prompt_tokens + request.output_tokens
        if request.prompt_tokens > self.scheduler.longest_prompt:
            return f"a prompt of {request.prompt_tokens} tokens exceeds the engine's {self.scheduler.longest_prompt}"
        if tokens > self.max_model_len:
            return f"{tokens} tokens exceed the context limit of {self.max_model_len}"
        return f"needs {self.kv.blocks_for(tokens - 1)} KV blocks, the instance has {self.kv.total}"

    def admit(self, chunks: Sequence[Chunk], now: int) -> tuple[int, bool]:
        """Note which requests a plan runs for the first time, at a time in ps.

        Return the chunks' tokens, and whether one of their requests has only a single token to make.
        """
        total, ending = 0, False
        for request, tokens in chunks:
            total += tokens
            if request.admitted_at < 0:
                request.admitted_at = now
                request.cached = request.computed
            if request.stop_at - request.generated == 1:
                ending = True
        return total, ending

    def iterations_that_fit(self, count: int, paid: int) -> int:
        """Return how many of ``count`` decode iterations, of which nobody finishes before the last, memory allows.

        ``paid``: 1 if a plan took the blocks of the first one already, 0 if not.
        """
        first = self.decodes.iteration + paid
        return paid + self.decodes.iterations_that_fit(first, self.kv.free, count - paid)

    def complete(self, chunks: Sequence[Chunk], now: int) -> list[Request]:
        """Account for an iteration with prompt chunks that ended at a time in ps; return the requests that finished."""
        finished = self.finish(self.decodes.pop_finished(), now) if self.complete_decodes(1, 0) else []
        return finished + self._complete_prompts(chunks, now)

    def complete_stalled(self, chunks: Sequence[Chunk], now: int) -> list[Request]:
        """Account for an iteration of prompt chunks alone, which the decode set sat out; as ``complete``."""
        self.stall()
        return self._complete_prompts(chunks, now)

    def stall(self) -> None:
        """Count an iteration that the decode set sits out."""
        self.decodes.stall()
        self.ledger.stalls += 1

    def _complete_prompts(self, chunks: Sequence[Chunk], now: int) -> list[Request]:
        last = self.decodes.iteration + self.decodes.stalls - 1
        done = self.complete_chunks(chunks, now)
        for request in done:
            self.ledger.add_span(request.index, last, last, 0)
        return self.finish(done, now)

    def complete_chunks(self, chunks: Sequence[Chunk], now: int) -> list[Request]:
        """Add prompt chunks of an iteration that ended at a time in ps; those with a whole prompt decode from now on.

        Return those for which one token was enough.
        """
        decodes, done = self.decodes, []
        for request, tokens in chunks:
            request.computed += tokens
            if request.computed == request.prompt_tokens + request.generated:
                request.generated += 1
                if request.first_token_at < 0:
                    request.first_token_at = now
                if request.generated == request.stop_at:
                    done.append(request)
                else:
                    decodes.add(request, made=1)
        return done

    def complete_decodes(self, iterations: int, unpaid: int) -> bool:
        """Account for decode iterations; return whether requests made their last token (``pop_finished``).

        The KV blocks of the last ``unpaid`` of them are taken here, those before were taken by a plan.
        """
        decodes = self.decodes
        decodes.iteration = reached = decodes.iteration + iterations
        if unpaid and (blocks := decodes.blocks_needed(reached - unpaid, unpaid)):
            self.kv.take(blocks)
        return decodes.next_finish < reached

    def finish(self, requests: list[Request], now: int) -> list[Request]:
        """End requests that made their last token here in an iteration that ended at a time in ps.

        Return them, or those that the policy answers now. One that goes on elsewhere keeps its KV blocks until somebody
        releases them.
        """
        if self.scheduler.holds_back:
            requests = self.scheduler.deliver(requests)
        for request in requests:
            if request.generated < request.output_tokens:
                self.scheduler.finished(request)
                continue
            request.finished_at = now
            if self.unheard is None:
                self.kv.release(request)
                self.scheduler.finished(request)
            else:
                self.unheard.append(request)
        return requests

    def hear(self) -> bool:
        """Let the policy hear of the requests that ended, and take their blocks back; return whether there was one."""
        if not self.unheard:
            return False
        for request in self.unheard:
            if request.blocks:  # else the policy took them back itself, in need
                self.kv.release(request)
            self.scheduler.finished(request)
        self.unheard.clear()
        return True
