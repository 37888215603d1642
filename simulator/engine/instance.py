"""One serving instance on SimPy: sleeps through runs of iterations, wakes for what changes them."""

from collections.abc import Callable, Generator
from math import isqrt
from typing import Final

import simpy

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.engine.core import EngineCore
from simulator.engine.scheduler import Plan

# At one moment, arrivals (SimPy's normal priority, 1) come before iterations end, these before closed-loop clients send
# their next request, and new iterations begin last. Without this order, results would depend on which of two events at
# the same picosecond was scheduled first, and so on --exact-steps.
END: Final = 2
SEND: Final = 3
BEGIN: Final = 4


class Moment(simpy.Event):
    """An event that happens after a delay (ps), in the given order among the events of that moment.

    Waiting for it gives the time (ps) at which it happened.
    """

    def __init__(self, env: simpy.Environment, delay: int, order: int) -> None:
        self.env = env
        self.callbacks = []
        self._ok = True
        self._value = env.now + delay
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
        self._run = (0, 0, 0, 0, 0)  # start, first, growth, iterations, how many of these cannot be called off
        self._cut_to = -1
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
            awake = Moment(self.env, 0, BEGIN)
            awake.callbacks, self._idle.callbacks = self._idle.callbacks, []
            self._idle = None
        elif self._alarm is not None:
            self._cut()

    def _cut(self) -> None:
        """End the run in progress with the iteration in progress, so that an arrival is seen by the next one."""
        start, first, growth, count, least = self._run
        now: int = self.env.now  # type: ignore[assignment]
        # At a run's very beginning its first iteration is in progress already, unless prompt chunks go before it.
        cut = max(iterations_until(now - start, first, growth), least)
        if cut < count:
            self._cut_to = cut
            earlier = Moment(self.env, start + cut * first + growth * (cut * (cut - 1) // 2) - now, END)
            earlier.callbacks, self._alarm.callbacks = self._alarm.callbacks, []  # type: ignore[union-attr]
        self._alarm = None

    def _serve(self) -> Generator[simpy.Event, int, None]:
        env, core, cost = self.env, self.core, self.cost
        scheduler, decodes, kv = core.scheduler, core.decodes, core.kv
        members, add_run = decodes.members, core.ledger.add_run
        waiting, now = 0, 0
        while True:
            if env.peek() == now:
                yield Moment(env, 0, BEGIN)
            plan = core.plan(now)
            preempted, scheduler.preempted = scheduler.preempted, 0
            if (queued := scheduler.waiting) != waiting:
                waiting = queued
                if self.on_queue is not None:
                    self.on_queue(self, waiting)
            start, least = now, 1
            if plan.chunks:
                start += self._begin_mixed(plan, now, waiting, preempted)
                if not self._continues(plan):
                    now = yield Moment(env, start - now, END)
                    for request in core.complete(plan, 1, now):
                        self.on_finish(self, request)
                    continue
                # Nothing finishes with the prompts' last chunks: what follows them is decided, and run in one go.
                core.complete(plan, 1, start)
                least, preempted = 0, 0
            elif not members:
                if not preempted:
                    self._idle = env.event()
                    now = yield self._idle
                continue
            first, growth, limit = cost.decode_run(decodes)
            count = self._iterations(plan.horizon, limit, least)
            context, used = decodes.context, kv.total - kv.free
            alarm = Moment(env, start - now + count * first + growth * (count * (count - 1) // 2), END)
            if count > least and plan.arrivals_matter:
                self._run = (start, first, growth, count, least)
                self._alarm = alarm
            now = yield alarm
            if self._cut_to >= 0:
                count, self._cut_to = self._cut_to, -1
            self._alarm = None
            if count:
                add_run(start, first, growth, count, len(members), 0, 0, context, waiting, used, preempted)
                for request in core.complete_decodes(count, count - least, now):
                    self.on_finish(self, request)

    def _begin_mixed(self, plan: Plan, now: int, waiting: int, preempted: int) -> int:
        """Enter an iteration with prompt chunks into the ledger; return its duration."""
        core, chunks = self.core, plan.chunks
        decodes, kv = core.decodes, core.kv
        duration = self.cost.mixed(chunks, decodes)
        tokens = 0
        for _, new in chunks:
            tokens += new
        core.ledger.add_run(
            now, duration, 0, 1, len(decodes.members), len(chunks), tokens, decodes.context, waiting,
            kv.total - kv.free, preempted,
        )  # fmt: skip
        return duration

    def _continues(self, plan: Plan) -> bool:
        """Tell whether decode iterations may follow a plan's chunks without anybody being asked."""
        if plan.horizon == 1 or self.exact_steps:
            return False
        for request, _ in plan.chunks:
            if request.output_tokens - request.generated == 1:
                return False
        decodes = self.core.decodes
        return not decodes.members or decodes.next_finish() > decodes.iteration

    def _iterations(self, horizon: int, limit: int, least: int) -> int:
        """Return how many decode iterations to sleep through: nothing may finish or run out of memory on the way.

        The blocks of the first ``least`` of them were taken by the plan already.
        """
        if self.exact_steps or horizon == 1:
            return 1
        decodes = self.core.decodes
        count = decodes.next_finish() - decodes.iteration + 1
        if count > horizon:
            count = horizon
        if count > limit:
            count = limit
        if count > least:
            count = least + decodes.iterations_that_fit(decodes.iteration + least, self.core.kv.free, count - least)
        return count


def iterations_until(elapsed: int, first: int, growth: int) -> int:
    """Return in which iteration of a run (counting from 1) a moment lies; the end of one belongs to it.

    The smallest n with ``n * first + growth * n * (n - 1) / 2 >= elapsed``; 0 for a moment before the run.
    """
    if elapsed <= 0:
        return 0
    if growth == 0:
        return -(-elapsed // first)
    b = 2 * first - growth
    n = (isqrt(b * b + 8 * growth * elapsed) - b) // (2 * growth)
    while n * first + growth * (n * (n - 1) // 2) < elapsed:
        n += 1
    while n > 1 and (n - 1) * first + growth * ((n - 1) * (n - 2) // 2) >= elapsed:
        n -= 1
    return n
