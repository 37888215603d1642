"""LightLLM: memory by the token, and four ways to decide who may start."""

from collections import deque
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError, Request, Streams
from simulator.engine.scheduler import FOREVER, Plan
from simulator.scheduling.peak_tokens import PeakTokens
from simulator.scheduling.prompt_batches import PromptBatches
from simulator.scheduling.queues import ArrivalQueue
from simulator.scheduling.registry import scheduler

_WATERMARK = 0.99  # of the KV cache, that aggressive admission fills
_SPARE = 0.05  # of the KV cache, that Past-Future leaves free
_WINDOW = 200  # finished outputs that are remembered
_MOST_SAMPLINGS, _ENOUGH_SAMPLES = 5, 200


@scheduler("lightllm")
class LightLLM(PromptBatches):
    """Batches of whole prompts by arrival; every ``wait`` decode iterations it is asked whether more can start.

    ``router``: ``conservative`` reserves what all hold at once if each makes its declared longest output, ``reserve``
    the sum of all prompts and longest outputs (as the artifact's behavior-analysis), ``aggressive`` only what is there,
    up to 99 % of memory; ``past_future`` draws the outputs of all several times from those of the last 200 finished
    requests (given that they are longer than what is made already) and admits if each drawing's peak leaves 5 % free.
    ``max_new_tokens``: the longest output that clients declare; one who gets more declared that much.
    ``max_num_seqs``: most requests running at once. ``max_num_batched_tokens``: most prompt tokens of a batch; longer
    prompts fail. ``seed``: of the drawings, which differ from instance to instance. Whoever came last is evicted
    where memory runs out, and computed again. Memory is by the token where the KV block size is 1.
    """

    source = (
        "Gong et al., Past-Future Scheduler for LLM Serving under SLA Guarantees, ASPLOS 2025; "
        "LightLLM, branch future_past_router, lightllm/server/router"
    )

    def __init__(
        self,
        *,
        router: Literal["conservative", "reserve", "aggressive", "past_future"] = "past_future",
        max_new_tokens: int = 2048,
        max_num_seqs: int = 1000,
        max_num_batched_tokens: int = 8192,
        wait: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens, wait)
        if max_new_tokens < 1:
            raise InputError(f"max_new_tokens is {max_new_tokens}", hint="1 or more")
        self.router = router
        self.max_new_tokens = max_new_tokens
        self.seed = seed
        self.queue: ArrivalQueue = ArrivalQueue()
        self._reserved = PeakTokens()
        self._past: deque[int] = deque([max_new_tokens] * (_WINDOW // 2), maxlen=_WINDOW)
        self._rng: np.random.Generator | None = None
        self._drawn: NDArray[np.int64] | None = None  # while a batch is put together: (held or left, drawing, request)

    def add(self, request: Request) -> None:
        """Queue a request."""
        self.queue.push(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token, and remember how many it made."""
        super().finished(request)
        self._past.append(request.output_tokens)

    def head(self) -> Request | None:
        """Return who waits longest."""
        return self.queue.peek() if self.queue else None

    def take(self, request: Request) -> None:
        """Take the head from the queue, and count what it may need."""
        self.queue.pop()
        if self.router != "aggressive":
            self._reserved.add(request, request.tokens, self._left(request), self.decodes.iteration)

    def put_back(self, request: Request) -> None:
        """Queue an evicted request before all others."""
        self.queue.push_front(request)

    def gone(self, request: Request) -> None:
        """Discount a request that holds no memory any more."""
        self._reserved.remove(request)

    def rest(self) -> int:
        """Return the decode iterations up to the next multiple of ``wait``, counted from the last look at the queue."""
        passed = self.decodes.iteration - self._since
        return -passed % self.wait if passed else self.wait

    def _looked(self, found: bool) -> None:
        self._since = self.decodes.iteration
        self._drawn = None

    def until_changed(self, blocked: int) -> Plan:
        """Return that nobody starts before the next look at which the head may fit."""
        looks = -(-blocked // self.wait) if blocked < FOREVER else FOREVER
        return Plan(horizon=min(looks * self.wait, FOREVER), arrivals_matter=False)

    def iterations_until_fits(self, request: Request) -> int:
        """Return after how many decode iterations the router may let the head in."""
        kv = self.kv
        if self.router == "aggressive":
            return 0 if kv.used + kv.blocks_for(request.tokens) <= _WATERMARK * kv.total else FOREVER
        room, left = kv.total * kv.block_size, self._left(request)
        if self.router == "reserve":
            return 0 if self._reserved.total + request.tokens + left <= room else FOREVER
        if self.router == "conservative":
            return self._reserved.iterations_until_fits(request.tokens, left, self.decodes.iteration, room)
        room = int(room * (1 - _SPARE))
        if self._reserved.total + request.tokens + left <= room:
            return 0  # whatever the outputs are
        if kv.used * kv.block_size + request.tokens > room:
            return FOREVER  # as well: those who run hold more and more until one ends
        # Another drawing may say otherwise at the next look.
        return 0 if self._peak_drawn(request) <= room else self.wait

    def _left(self, request: Request) -> int:
        """Return the KV tokens that a waiting request may write after its prompt."""
        return max(self.max_new_tokens, request.output_tokens) - request.generated - 1

    def _peak_drawn(self, request: Request) -> int:
        """Return the highest peak of the drawings with a waiting request, which is counted in them from now on."""
        if self._rng is None:
            self._rng = Streams(self.seed).get(f"past_future.{request.instance}")
        drawn = self._draw(self._rng) if self._drawn is None else self._drawn
        lengths = self._rng.choice(np.array(self._past), drawn.shape[1])
        left = np.clip(lengths - request.generated - 1, 0, self._left(request))
        column = np.stack([np.full(len(left), request.tokens), left])
        self._drawn = drawn = np.concatenate([drawn, column[:, :, None]], axis=2)
        order = np.argsort(-drawn[1], axis=1, kind="stable")
        held, left = np.take_along_axis(drawn, order[None], axis=2)
        return int((left * np.arange(1, left.shape[1] + 1) + np.cumsum(held, axis=1)).max())

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """Return KV tokens held, and those still to be written, of the running requests in each drawing."""
        decodes, running = self.decodes, list(self.running)
        drawings = min(_MOST_SAMPLINGS, _ENOUGH_SAMPLES // len(running) + 1)
        held = np.array([r.offset + decodes.iteration - 1 if r in decodes else r.tokens for r in running])
        made = held - [r.prompt_tokens for r in running] + 1
        most = np.maximum([r.output_tokens for r in running], self.max_new_tokens)
        # A line through what is made, past outputs longer than that, and the longest possible: any place is as likely.
        past = np.sort(np.array(self._past))
        begin = np.searchsorted(past, made, "right")
        stretches = len(past) - begin + (np.where(begin < len(past), past[-1], made) < most)
        place = rng.random((drawings, len(running))) * stretches
        whole = place.astype(np.int64)
        points = np.append(past, 0)
        low = np.where(whole == 0, made, points[begin + whole - 1])
        high = np.where(begin + whole < len(past), points[begin + whole], most)
        left = np.rint(low + (high - low) * (place - whole)) - made
        return np.stack([np.broadcast_to(held, left.shape), left]).astype(np.int64)
