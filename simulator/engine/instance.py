"""One serving instance on SimPy: sleeps through runs of iterations, wakes for what changes them."""

from collections.abc import Callable, Generator
from math import isqrt
from typing import Final

import simpy

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.engine.core import EngineCore
from simulator.engine.scheduler import FOREVER

# At one moment, arrivals (SimPy's normal priority, 1) come before iterations end, these before closed-loop clients send
# their next request, and new iterations begin last. Without this order, results would depend on which of two events at
# the same picosecond was scheduled first, and so on --exact-steps.
END: Final = 2
SEND: Final = 3
BEGIN: Final = 4


class Moment(simpy.Event):
    """An event that happens after a delay (ps), in the given order among the events of that moment."""

    def __init__(self, env: simpy.Environment, delay: int, order: int) -> None:
        self.env = env
        self.callbacks = []
        self._ok = True
        self._value = None
        env.schedule(self, order, delay)  # type: ignore[arg-type]


class Instance:
    """An engine with a clock.

    ``on_finish`` is called with the instance and each request at the moment of its last token; ``on_queue``, if set,
    whenever the number of waiting requests changed. ``exact_steps`` makes every run one iteration long.
    """

    def __init__(
        self,
        env: simpy.Environment,
        index: int,
        core: EngineCore,
        cost: CostModel,
        on_finish: Callable[["Instance", Request], None],
        *,
        exact_steps: bool = False,
    ) -> None:
        self.env = env
        self.index = index
        self.core = core
        self.cost = cost
        self.on_finish = on_finish
        self.on_queue: Callable[[Instance, int], None] | None = None
        self.exact_steps = exact_steps
        self._idle: simpy.Event | None = None
        # The run in progress, as long as an arrival may cut it short.
        self._alarm: Moment | None = None
        self._run = (0, 0, 0)  # start, first, growth
        self._count = 0
        env.process(self._serve())

    def submit(self, request: Request) -> None:
        """Take in a request now; one that can never be served fails at once, with the reason."""
        request.instance = self.index
        request.failure = self.core.rejects(request)
        if request.failure is not None:
            request.finished_at = self.env.now
            self.on_finish(self, request)
            return
        scheduler = self.core.scheduler
        scheduler.add(request)
        if self.on_queue is not None:
            self.on_queue(self, scheduler.waiting)
        if self._idle is not None:
            Moment(self.env, 0, BEGIN).callbacks, self._idle.callbacks = self._idle.callbacks, []
            self._idle = None
        elif self._alarm is not None:
            self._cut()

    def _cut(self) -> None:
        """End the run in progress with the iteration in progress, so that an arrival is seen by the next one."""
        start, first, growth = self._run
        count = iterations_until(self.env.now - start, first, growth)
        if count < self._count:
            self._count = count
            end = start + count * first + growth * (count * (count - 1) // 2)
            earlier = Moment(self.env, end - self.env.now, END)
            earlier.callbacks, self._alarm.callbacks = self._alarm.callbacks, []  # type: ignore[union-attr]
        self._alarm = None

    def _serve(self) -> Generator[simpy.Event, None, None]:
        env, core, cost = self.env, self.core, self.cost
        decodes, kv, scheduler = core.decodes, core.kv, core.scheduler
        add_run, most = core.ledger.add_run, 1 if self.exact_steps else FOREVER
        waiting = 0
        while True:
            if env.peek() == env.now:
                yield Moment(env, 0, BEGIN)
            now: int = env.now  # type: ignore[assignment]
            plan = core.plan(now)
            preempted, scheduler.preempted = scheduler.preempted, 0
            if scheduler.waiting != waiting:
                waiting = scheduler.waiting
                if self.on_queue is not None:
                    self.on_queue(self, waiting)
            chunks, decoding = plan.chunks, len(decodes.members)
            prompt_tokens = 0
            if chunks:
                count = 1
                first = duration = cost.mixed(chunks, decodes)
                growth = 0
                for _, tokens in chunks:
                    prompt_tokens += tokens
            elif decoding:
                first, growth, limit = cost.decode_run(decodes)
                count = min(plan.horizon, limit, decodes.next_finish() - decodes.iteration + 1, most)
                if count > 1:
                    count = 1 + decodes.iterations_that_fit(decodes.iteration + 1, kv.free, count - 1)
                duration = count * first + growth * (count * (count - 1) // 2)
            elif preempted:
                continue
            else:
                self._idle = env.event()
                yield self._idle
                continue
            context, used = decodes.context, kv.total - kv.free
            self._count = count
            alarm = Moment(env, duration, END)
            if count > 1 and plan.arrivals_matter:
                self._run = (now, first, growth)
                self._alarm = alarm
            yield alarm
            self._alarm = None
            count = self._count
            add_run(
                (now, first, growth, count, decoding, len(chunks), prompt_tokens, context, waiting, used, preempted)
            )
            for request in core.complete(plan, count, env.now):  # type: ignore[arg-type]
                self.on_finish(self, request)


def iterations_until(elapsed: int, first: int, growth: int) -> int:
    """Return in which iteration of a run (counting from 1) a moment lies; the end of one belongs to it.

    The smallest n >= 1 with ``n * first + growth * n * (n - 1) / 2 >= elapsed``.
    """
    if growth == 0:
        return max(1, -(-elapsed // first))
    b = 2 * first - growth
    n = (isqrt(b * b + 8 * growth * elapsed) - b) // (2 * growth)
    while n * first + growth * (n * (n - 1) // 2) < elapsed:
        n += 1
    while n > 1 and (n - 1) * first + growth * ((n - 1) * (n - 2) // 2) >= elapsed:
        n -= 1
    return max(1, n)
