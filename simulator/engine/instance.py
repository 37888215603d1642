"""One serving instance on SimPy: sleeps through runs of iterations, wakes for what changes them."""

from collections.abc import Callable, Generator
from math import sqrt

from simulator.core import Request
from simulator.cost.base import CostModel
from simulator.engine.clock import BEGIN, END, Clock, Moment
from simulator.engine.core import EngineCore
from simulator.engine.ledger import pack_run


class Instance:
    """An engine with a clock.

    ``on_finish`` is called with the instance and each request at the moment of its last token; ``on_queue``, if set,
    whenever the number of waiting requests changed. ``exact_steps`` makes every run one iteration long.
    """

    def __init__(
        self,
        clock: Clock,
        index: int,
        core: EngineCore,
        cost: CostModel,
        on_finish: Callable[["Instance", Request], None],
        *,
        exact_steps: bool = False,
    ) -> None:
        self.clock = clock
        self.index = index
        self.core = core
        self.cost = cost
        self.on_finish = on_finish
        self.on_queue: Callable[[Instance, int], None] | None = None
        self.exact_steps = exact_steps
        self._told = 0  # how many wait, as ``on_queue`` last heard
        self._idle = False
        self._arrived = False  # anything since the policy was asked last
        # The run in progress, as long as an arrival may cut it short.
        self._alarm: Moment | None = None
        self._run = (0, 0, 0, 0, 0)  # start, first, growth, iterations, how many of these cannot be called off
        self._cut_to = -1
        serving = self._serve()
        self._wake = serving.send
        next(serving)

    def submit(self, request: Request) -> None:
        """Take in a request now; one that can never be served fails at once, with the reason."""
        core = self.core
        request.instance = self.index
        if request.prompt_tokens + request.output_tokens > core.most_tokens:
            request.failure = core.why_not(request)
            request.finished_at = self.clock.time
            self.on_finish(self, request)
            return
        core.scheduler.add(request)
        self._arrived = True
        if self.on_queue is not None:
            self._tell_queue(len(core.scheduler.queue))
        if self._idle:
            self._idle = False
            Moment(self.clock, self.clock.time, BEGIN, self._wake)
        elif self._alarm is not None:
            self._cut(self._alarm, self.clock.time)

    def _tell_queue(self, waiting: int) -> None:
        if self.on_queue is not None and waiting != self._told:
            self._told = waiting
            self.on_queue(self, waiting)

    def _cut(self, alarm: Moment, now: int) -> None:
        """End the run in progress with the iteration in progress, so that an arrival is seen by the next one."""
        start, first, growth, count, least = self._run
        # At a run's very beginning its first iteration is in progress already, unless prompt chunks go before it.
        cut = max(iterations_until(now - start, first, growth), least)
        if cut < count:
            self._cut_to = cut
            alarm.callbacks.clear()
            Moment(self.clock, start + cut * first + growth * (cut * (cut - 1) // 2), END, self._wake)
        self._alarm = None

    def _serve(self) -> Generator[None, Moment, None]:
        clock, core, cost, wake = self.clock, self.core, self.cost, self._wake
        scheduler, decodes, kv = core.scheduler, core.decodes, core.kv
        queue, members, add_run = scheduler.queue, decodes.members, core.ledger.add_packed_run
        exact_steps, on_finish = self.exact_steps, self.on_finish
        agenda = clock.agenda
        preempted = 0
        self._idle = True
        now = (yield).at
        while True:
            if agenda and agenda[0][0] == now:
                # Whatever else happens at this moment comes first.
                Moment(clock, now, BEGIN, wake)
                yield
            scheduler.now = now
            self._arrived = False
            plan = scheduler.plan()
            if victims := scheduler.preempted:
                # A plan that only preempts has no run to be counted with: its victims count with the next one.
                preempted += victims
                scheduler.preempted = 0
            waiting = len(queue)
            if self.on_queue is not None:
                self._tell_queue(waiting)
            chunks, horizon, arrivals_matter, outlives_finishes = plan
            requests, start, unpaid, used = len(members), now, 0, kv.total - kv.free
            context = decodes.offsets + requests * decodes.iteration
            if chunks:
                tokens, done = core.admit(chunks, now)
                duration = cost.mixed(chunks, tokens, requests, context, decodes)
                add_run(pack_run(now, duration, 0, 1, requests, len(chunks), tokens, context, waiting, used, preempted))
                start += duration
                horizon -= 1
                if done or horizon < 1 or exact_steps or (requests and decodes.finishes[0][0] <= decodes.iteration):
                    preempted = 0
                    Moment(clock, start, END, wake)
                    now = (yield).at
                    for request in core.complete(chunks, now):
                        on_finish(self, request)
                    continue
                # Nobody finishes in this iteration: what follows it is known, and run in one go with it.
                decodes.iteration += 1
                core.complete_chunks(chunks, start)
                requests, unpaid, preempted = len(members), 1, 0
                context = decodes.offsets + requests * decodes.iteration
            elif not requests:
                if not victims:
                    self._idle = True
                    now = (yield).at
                continue
            while True:
                first, growth, limit = cost.decode_run(requests, context, decodes)
                count = 1 if exact_steps else core.iterations_that_fit(horizon if horizon < limit else limit, unpaid)
                alarm = Moment(clock, start + count * first + growth * (count * (count - 1) // 2), END, wake)
                if arrivals_matter and count + unpaid > 1:
                    self._run = (start, first, growth, count, 1 - unpaid)
                    self._alarm = alarm
                    now = (yield).at
                    self._alarm = None
                    if self._cut_to >= 0:
                        count, self._cut_to = self._cut_to, -1
                else:
                    now = (yield).at
                if not count:
                    break
                add_run(pack_run(start, first, growth, count, requests, 0, 0, context, waiting, used, preempted))
                preempted = 0
                for request in core.complete_decodes(count, count - 1 + unpaid, now):
                    on_finish(self, request)
                horizon -= count
                if not (outlives_finishes and members) or horizon < 1 or self._arrived or exact_steps:
                    break
                # Those that go on do so without anybody being asked; an arrival at this moment calls it off.
                requests, start, unpaid, used = len(members), now, 1, kv.total - kv.free
                context = decodes.offsets + requests * decodes.iteration


def iterations_until(elapsed: int, first: int, growth: int) -> int:
    """Return in which iteration of a run (counting from 1) a moment lies; the end of one belongs to it.

    The smallest n with ``n * first + growth * n * (n - 1) / 2 >= elapsed``; 0 for a moment before the run.
    """
    if elapsed <= 0:
        return 0
    if growth == 0:
        return -(-elapsed // first)
    # The root of the quadratic, in floating point; whole numbers then decide.
    b = 2.0 * first - growth
    n = int((sqrt(b * b + 8.0 * growth * elapsed) - b) / (2.0 * growth))
    end = n * first + growth * (n * (n - 1) // 2)
    while end < elapsed:
        end += first + growth * n
        n += 1
    while end - first - growth * (n - 1) >= elapsed:
        n -= 1
        end -= first + growth * n
    return n
