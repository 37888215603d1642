"""One serving instance on SimPy: sleeps through runs of iterations, wakes for what changes them."""

from collections import deque
from collections.abc import Callable, Collection, Generator
from heapq import heappush
from math import sqrt
from typing import NamedTuple

from simulator.core import InputError, Request
from simulator.cost.base import CostModel
from simulator.engine.clock import BEGIN, END, Alarm, Clock
from simulator.engine.core import EngineCore
from simulator.engine.estimates import Estimates
from simulator.engine.ledger import pack_run
from simulator.engine.scheduler import FOREVER, Extras
from simulator.engine.shared_reads import SharedReads


class Instance:
    """An engine with a clock.

    ``on_finish`` is called with the instance and each request at the moment of its last token; ``on_queue``, if set,
    whenever the number of waiting requests changed. ``exact_steps`` makes every run one iteration long.
    ``admission_lag``: 1 for an engine that schedules asynchronously. It decides on an iteration while the one before
    still runs (at its start), so an arrival meanwhile waits for one more, and the slot and blocks of a finished request
    are free one iteration late. A decision to run nothing is taken again at once, with all that has happened.
    ``intake_ps``: how long a request is in the server (tokenized, passed on) before the engine queues it; it counts as
    waiting all the while.
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
        admission_lag: int = 0,
        intake_ps: int = 0,
    ) -> None:
        if admission_lag not in (0, 1):
            raise InputError(f"admission_lag is {admission_lag}", hint="0 (synchronous) or 1 (asynchronous scheduling)")
        if intake_ps < 0:
            raise InputError(f"intake_ps is {intake_ps}", hint="a time of 0 or more")
        self.clock = clock
        self.index = index
        self.core = core
        self.cost = _costing(core, cost)
        self.on_finish = on_finish
        self.on_queue: Callable[[Instance, int], None] | None = None
        self.exact_steps = exact_steps
        self.admission_lag = admission_lag
        self.intake_ps = intake_ps
        if admission_lag:
            core.unheard = []
        # Where requests don't reach the policy as they arrive: when they reach the engine's queue, and they.
        self._delays = admission_lag > 0 or intake_ps > 0
        self._coming: deque[tuple[int, Request]] = deque()
        self._told = 0  # how many wait, as ``on_queue`` last heard
        self._idle = False
        self._look_again = FOREVER  # ps, when to ask the policy again though nothing runs
        # The run in progress, as long as an arrival may cut it short: start, first, growth, iterations, how many of
        # these cannot be called off.
        self._run: tuple[int, int, int, int, int] | None = None
        self._held: tuple[int, int, int, int, int] | None = None  # the same, of one that only ``wake`` may cut
        self._errands: list[Callable[[], None]] = []  # before the next decision
        self._claims: list[Callable[[], bool]] = []  # after it
        self._woken = False  # by ``wake`` since the last decision
        self._cut_to = 0  # iterations of a run that was cut
        self._processes = 0
        self._alarm = Alarm(clock, lambda now: None)
        self._begin()

    def _begin(self) -> None:
        """Let the alarm wake a new process that serves with the present engine and cost model."""
        self.core.scheduler.estimates = Estimates(self.cost, self.core.decodes)
        self._look_again = FOREVER
        self._processes += 1
        serving = self._serve()
        next(serving)
        self._alarm.wake = serving.send

    def go_on(self, core: EngineCore, cost: CostModel) -> None:
        """Serve on with another engine, or the same at another speed; to be called in an errand.

        The requests and KV of the engine before are lost, and so is what was to be done ``when_room``; the caller knows
        of them. A new engine writes to the same ledger.
        """
        before = self.core
        self.core, self.cost = core, _costing(core, cost)
        if core is not before:
            core.decodes.iteration, core.decodes.stalls = before.decodes.iteration, before.decodes.stalls
            core.unheard = [] if self.admission_lag else None
            self._coming.clear()
            self._claims.clear()
            self._tell_queue(0)
        self._begin()
        self.wake()

    def submit(self, request: Request) -> None:
        """Take in a request now; one that can never be served fails at once, with the reason."""
        core, prompt = self.core, request.prompt_tokens
        request.instance = self.index
        if prompt + request.stop_at > core.most_tokens or prompt > core.scheduler.longest_prompt:
            request.failure = core.why_not(request)
            request.finished_at = self.clock.time
            self.on_finish(self, request)
            return
        when = self.clock.time + self.intake_ps
        if self._delays:
            self._coming.append((when, request))
        else:
            core.scheduler.add(request)
        if self.on_queue is not None:
            self._tell_queue(len(core.scheduler.queue) + len(self._coming))
        if self._run is not None:
            self._cut(when, self.admission_lag, *self._run)
        elif self._idle:
            self._idle = False
            self._alarm.set(min(when, self._look_again), BEGIN)

    def at_boundary(self, errand: Callable[[], None]) -> None:
        """Run an errand before the next decision, when no iteration is in progress and requests may be taken out."""
        self._errands.append(errand)
        self.wake()

    def when_room(self, claim: Callable[[], bool]) -> None:
        """Run a claim after the next decision, when what it left of the KV blocks may be taken.

        One that returns False is run again after each later decision, until it returns True. Only finished requests
        make room, and a claim may rely on nothing else that changes while the same requests decode.
        """
        self._claims.append(claim)
        self.wake()

    def let_go(self, request: Request) -> None:
        """Free the KV of a request that goes on elsewhere, between two iterations, when its blocks' order is known."""
        if self._idle and not (self.core.scheduler.queue or self._claims or self._errands):
            self.core.kv.release(request)  # nobody waits for it, so there is nothing to decide
            return
        kv = self.core.kv
        stand_in = kv.leave_behind(request)
        self.at_boundary(lambda: kv.release(stand_in))

    def give_back(self, blocks: int) -> None:
        """Free blocks, between two iterations, that were taken in a claim for content that did not come."""
        kv = self.core.kv
        self.at_boundary(lambda: kv.give_back(blocks))

    def wake(self) -> None:
        """Let the policy decide anew when the iteration in progress ends: something else than an arrival changed."""
        self._woken = True
        run = self._run or self._held
        if run is not None:
            self._cut(self.clock.time, 0, *run)
        elif self._idle:
            self._idle = False
            self._alarm.set(self.clock.time, BEGIN)

    def blocks_used(self) -> int:
        """Return the KV blocks in use in the iteration in progress, however many more the clock sleeps through."""
        core, run = self.core, self._run or self._held
        used = core.kv.used
        if run is not None:
            start, first, growth, count, paid = run
            current = min(iterations_until(self.clock.time - start, first, growth), count)
            if current > paid:
                used += core.decodes.blocks_needed(core.decodes.iteration + paid, current - paid)
        return used

    def iterations_at_most(self) -> int:
        """Return a bound on how many iterations of the run in progress have begun, which costs less than their number.

        No run: 0.
        """
        if (run := self._run or self._held) is None:
            return 0
        start, first, growth, count, _ = run
        return count if growth < 0 else (self.clock.time - start) // first + 1

    @property
    def coming(self) -> Collection[Request]:
        """Requests that were sent here and of which the policy has not heard yet."""
        return [request for _, request in self._coming] if self._coming else ()

    def _tell_queue(self, waiting: int) -> None:
        if self.on_queue is not None and waiting != self._told:
            self._told = waiting
            self.on_queue(self, waiting)

    def _cut(self, when: int, lag: int, start: int, first: int, growth: int, count: int, least: int) -> None:
        """End the run with the iteration then in progress (or the one after: the lag), so that the next sees it."""
        self._run = None
        # At a run's very beginning its first iteration is in progress already, unless prompt chunks go before it.
        cut = iterations_until(when - start, first, growth) + lag
        if cut < least:
            cut = least
        self._held = (start, first, growth, min(cut, count), least)
        if cut < count:
            self._cut_to = cut
            self._alarm.set(start + cut * first + growth * (cut * (cut - 1) // 2), END)

    def _serve(self) -> Generator[None, int, None]:
        clock, core, cost, alarm = self.clock, self.core, self.cost, self._alarm
        scheduler, decodes, kv, block_size = core.scheduler, core.decodes, core.kv, core.kv.block_size
        queue, members, add_run = scheduler.queue, decodes.members, core.ledger.add_packed_run
        exact_steps, on_finish, coming, lag = self.exact_steps, self.on_finish, self._coming, self.admission_lag
        agenda, numbers, errands, claims = clock.agenda, clock.numbers, self._errands, self._claims
        preempted, process = 0, self._processes
        self._idle = True
        known = now = yield  # known: ps, up to when a decision that lags behind knows what happened
        while True:
            if agenda and agenda[0][0] == now:
                # Whatever else happens at this moment comes first.
                alarm.set(now, BEGIN)
                yield
            scheduler.now = now
            while errands:
                errands.pop(0)()
                if process != self._processes:
                    yield  # another one goes on from here (``go_on``), and this one is not woken again
            while coming and coming[0][0] <= (known if lag else now):
                scheduler.add(coming.popleft()[1])
            chunks, horizon, arrivals_matter, outlives_finishes, until, extras = scheduler.plan()
            if exact_steps:
                horizon = 1
            if victims := scheduler.preempted:
                # A plan that only preempts has no run to be counted with: its victims count with the next one.
                preempted += victims
                scheduler.preempted = 0
            waiting = len(queue) + len(coming)
            if self.on_queue is not None:
                self._tell_queue(waiting)
            # paid: whether the plan took the KV blocks of the next iteration (1) or nobody did yet (0).
            requests, start, paid, used = len(members), now, 1, kv.total - kv.free
            context = decodes.offsets + requests * decodes.iteration
            decodes_wait, idle, idle_context, padded, moved = extras or _NOTHING
            heard = False
            if lag:
                known, heard = now, bool(core.unheard and core.hear())
                if (heard and not outlives_finishes) or (coming and coming[0][0] <= now and arrivals_matter):
                    # What ended, or arrived, while the last iteration ran is news for the next decision.
                    horizon = 1
            self._woken = False
            if claims:
                claims[:] = [claim for claim in claims if not claim()]
                if self._woken or (claims and chunks):
                    horizon = 1
            if chunks:
                tokens, done = core.admit(chunks, now)
                if extras is None:
                    duration = cost.mixed(chunks, tokens, requests, context, decodes)
                else:
                    if decodes_wait:
                        requests = context = 0
                    computed = padded or chunks
                    size = sum(tokens for _, tokens in computed)
                    duration = cost.mixed(computed, size, requests + idle, context + idle_context, decodes)
                    duration += core.scheduler.host.ps(moved)
                add_run(pack_run(now, duration, 0, 1, requests, len(chunks), tokens, context, waiting, used, preempted))
                start += duration
                horizon -= 1
                preempted = 0
                if done or horizon < 1 or decodes.next_finish <= decodes.iteration:
                    alarm.set(start, END)
                    now = yield
                    complete = core.complete_stalled if decodes_wait else core.complete
                    for request in complete(chunks, now):
                        on_finish(self, request)
                    continue
                # Nobody finishes in this iteration: what follows it is known, and run in one go with it.
                if decodes_wait:
                    core.stall()
                else:
                    decodes.iteration += 1
                    idle_context += idle
                core.complete_chunks(chunks, start)
                requests, paid = len(members), 0
                context = decodes.offsets + requests * decodes.iteration
            elif not requests and not idle:
                if moved:
                    alarm.set(now + scheduler.host.ps(moved), BEGIN)
                    known = now = yield
                elif victims or heard or (coming and coming[0][0] <= now):
                    pass  # more has happened than this decision knew
                else:
                    self._idle, self._look_again = True, min(coming[0][0], until) if coming else until
                    if self._look_again < FOREVER:
                        alarm.set(self._look_again, BEGIN)
                    known = now = yield
                    self._idle = False
                continue
            batch = decodes if requests else _IdleSlots(idle_context // idle)
            while True:
                first, growth, limit = cost.decode_run(requests + idle, context + idle_context, batch)
                if moved:
                    first, horizon = first + scheduler.host.ps(moved), 1
                count = decodes.next_finish - decodes.iteration + 1
                if count > horizon:
                    count = horizon
                if count > limit:
                    count = limit
                # No member opens more than one block every block_size iterations: mostly there is room for even that.
                if (count // block_size + 1) * requests > kv.free:
                    count = core.iterations_that_fit(count, paid)
                if coming and arrivals_matter:
                    count = min(count, max(iterations_until(coming[0][0] - start, first, growth) + lag, paid))
                if until < FOREVER:
                    count = min(count, max(iterations_until(until - start, first, growth), paid))
                end = start + count * first + growth * (count * (count - 1) // 2)
                # As alarm.set(end, END), which would be one in twenty of a simulation's Python calls.
                alarm.number = number = next(numbers)
                heappush(agenda, (end, END, number, alarm))
                if arrivals_matter:
                    self._run = (start, first, growth, count, paid)
                else:
                    self._held = (start, first, growth, count, paid)
                now = yield
                self._run = self._held = None
                if now < end:
                    count = self._cut_to
                if not count:
                    break
                add_run(pack_run(start, first, growth, count, requests, 0, 0, context, waiting, used, preempted))
                preempted = 0
                if core.complete_decodes(count, count - paid):
                    for request in core.finish(decodes.pop_finished(), now):
                        on_finish(self, request)
                if queue or coming or claims or self._woken or horizon <= count or not (outlives_finishes and members):
                    # The start of the iteration that just ended.
                    known = now - first - growth * (count - 1)
                    break
                # Those that go on do so without anybody being asked; an arrival at this moment calls it off.
                horizon -= count
                requests, start, paid, used = len(members), now, 0, kv.total - kv.free
                context = decodes.offsets + requests * decodes.iteration
                if lag and core.unheard:
                    if (blocks := decodes.blocks_next()) > kv.free or (agenda and agenda[0][0] == now):
                        break  # to decide anew, after whatever else happens at this moment
                    kv.take(blocks)
                    core.hear()
                    paid = 1


def _costing(core: EngineCore, cost: CostModel) -> CostModel:
    """Return what iterations of an engine cost, with what its KV pool makes of it."""
    return core.kv.timed(SharedReads(cost, core.kv) if core.shared_once else cost)


_NOTHING = Extras()


class _IdleSlots(NamedTuple):
    """Slots that decode for nobody, as a cost model sees them when nobody else decodes: all of them equally long."""

    longest: int


def iterations_until(elapsed: int, first: int, growth: int) -> int:
    """Return in which iteration of a run (counting from 1) a moment lies; the end of one belongs to it.

    The smallest n with ``n * first + growth * n * (n - 1) / 2 >= elapsed``; 0 for a moment before the run.
    """
    if elapsed <= 0:
        return 0
    if growth == 0:
        return -(-elapsed // first)
    # The root of the quadratic, in floating point; whole numbers then decide.
    b = first - 0.5 * growth
    n = int((sqrt(b * b + 2.0 * growth * elapsed) - b) / growth) + 1
    end = n * first + growth * (n * (n - 1) // 2)
    while end < elapsed:
        end += first + growth * n
        n += 1
    while end - first - growth * (n - 1) >= elapsed:
        n -= 1
        end -= first + growth * n
    return n
