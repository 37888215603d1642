"""Random small worlds: a workload, a cluster to run it on, and what came out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st
from support.costs import KnottyCost
from support.watched import watched

from simulator.cluster.cluster import Cluster, Server
from simulator.cluster.registry import ROUTERS
from simulator.core import Request, Streams
from simulator.cost.base import CostModel, FixedCost
from simulator.cost.build import build_cost
from simulator.cost.iteration import IterationCost
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.parallelism import Parallelism
from simulator.engine.core import EngineCore
from simulator.engine.host_memory import HostMemory
from simulator.engine.kv_pool import CountingPool, KVPool
from simulator.engine.ledger import Ledger
from simulator.engine.prefix_pool import PrefixPool
from simulator.engine.scheduler import Scheduler
from simulator.hardware.engine_profile import load_engine
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model
from simulator.scheduling.registry import SCHEDULERS
from simulator.workload.table import ClosedLoop, PrefixTable, Workload

ITERATION_PS = 10**9


@cache
def roofline(hardware: str, model: str) -> CostModel:
    """Return what iterations cost by rooflines alone."""
    build = load_engine("vllm").build()
    terms = KernelTerms(load_model(model), load_profile(hardware), Parallelism(), None)
    return IterationCost(terms, build.host, build.captured, {})


@cache
def measured(hardware: str = "h100_sxm", model: str = "llama-3.1-8b", engine: str = "vllm") -> CostModel:
    """Return what iterations cost by a GPU's measured tables: of single kernels, or of whole layers on an RTX 4090."""
    profile = load_engine(engine)
    build = profile.build()
    return build_cost(load_model(model), load_profile(hardware), profile, build, build.host, Parallelism())


def fixed(iteration_ps: int) -> CostModel:
    return FixedCost(iteration_ps)


def knotty(total_width: int, longest_width: int, slopes: tuple[int, ...]) -> CostModel:
    return KnottyCost(base=ITERATION_PS // 5, total_width=total_width, longest_width=longest_width, slopes=slopes)


# Looked up once: each listing reads the metadata of all installed packages for entry points.
_ROUTERS, _SCHEDULERS = ROUTERS.names(), SCHEDULERS.names()
COSTS = {"roofline": roofline, "measured": measured, "fixed": fixed, "knotty": knotty}


@dataclass(frozen=True)
class InstanceSetup:
    """One instance of a world; ``cost`` is a name in ``COSTS`` with its arguments."""

    scheduler: str
    max_num_seqs: int
    max_num_batched_tokens: int
    policy: str
    blocks: int
    block_size: int
    caching: bool
    max_model_len: int
    cost: tuple[str, tuple[Any, ...]]
    admission_lag: int = 0
    intake_ps: int = 0
    chunked: bool = True
    host_tokens: int = 0  # room for swapped KV
    preemption: str = "recompute"
    shared_once: bool = False

    def pool(self, by_content: bool) -> KVPool:
        if self.caching and by_content:
            return PrefixPool(self.blocks, self.block_size)
        return CountingPool(self.blocks, self.block_size, reuse=self.caching)

    def tightened(self, tokens: int) -> "InstanceSetup":
        """Return the instance with a KV cache of so many tokens, and slots for more requests than fit into it."""
        seqs = self.max_num_seqs + 2
        batched = max(self.max_num_batched_tokens, seqs)
        return replace(self, blocks=-(-tokens // self.block_size), max_model_len=4096, max_num_seqs=seqs,
                       max_num_batched_tokens=batched)  # fmt: skip

    def fits(self, prompt: int, output: int) -> bool:
        """Tell whether a request can ever be served; the last token is never written to the cache."""
        if prompt > self.policy_object().longest_prompt:
            return False
        tokens = prompt + output
        return tokens <= self.max_model_len and tokens - 1 <= self.blocks * self.block_size

    def policy_object(self) -> Scheduler:
        """Return a new policy of this kind, watched."""
        return watched(
            self.scheduler,
            {
                "max_num_seqs": self.max_num_seqs,
                "max_num_batched_tokens": self.max_num_batched_tokens,
                "policy": self.policy,
                "max_batch_size": self.max_num_seqs,
                "max_num_tokens": self.max_num_batched_tokens,
                "enable_chunked_prefill": self.chunked,
                "preemption": self.preemption,
            },
        )

    def server(self, by_content: bool) -> Server:
        """Return a new server, its policy watched."""
        kv = self.pool(by_content)
        host = HostMemory(kv, self.host_tokens // self.block_size, ps_per_token=ITERATION_PS // 50)
        core = EngineCore(
            kv, self.policy_object(), Ledger(), self.max_model_len, host=host, shared_once=self.shared_once
        )
        name, arguments = self.cost
        return Server(core, COSTS[name](*arguments), self.admission_lag, self.intake_ps)


@dataclass(frozen=True)
class World:
    """A workload and the cluster that serves it; ``repr`` is enough to build it again."""

    workload: Workload
    instances: tuple[InstanceSetup, ...]
    router: str
    seed: int

    def scheduled_by(self, scheduler: str) -> "World":
        """Return the same world with another policy on all instances."""
        return replace(self, instances=tuple(replace(setup, scheduler=scheduler) for setup in self.instances))


class Outcome(NamedTuple):
    """A world after its run."""

    requests: list[Request]
    servers: list[Server]
    ended: int

    @property
    def ledgers(self) -> list[Ledger]:
        return [server.core.ledger for server in self.servers]


def simulate(world: World, *, exact_steps: bool = False, by_content: bool | None = None) -> Outcome:
    """Run a world to its end; ``by_content`` overrides the choice of pool, which follows from the workload."""
    if by_content is None:
        by_content = world.workload.prefix is not None
    servers = [setup.server(by_content) for setup in world.instances]
    rng = Streams(world.seed).get("router")
    cluster = Cluster(servers, ROUTERS.make(world.router, {}), world.workload, rng, exact_steps=exact_steps)
    cluster.run()
    return Outcome(cluster.requests, servers, cluster.ended)


def history(request: Request) -> tuple[Any, ...]:
    """Return everything that happened to a request."""
    times = ("arrival", "admitted_at", "first_token_at", "finished_at")
    return tuple(getattr(request, name) for name in ("index", "instance", *times, "preemptions", "cached", "failure"))


def token_times(outcome: Outcome) -> dict[int, list[int]]:
    """Return when each request made its tokens (ps), the slow way: iteration by iteration, span by span."""
    times: dict[int, list[int]] = {}
    for ledger in outcome.ledgers:
        ends, decoding = [], []
        for start, first, growth, count, decodes, *_ in ledger.runs().tolist():
            for n in range(count):
                start += first + growth * n
                ends.append(start)
                decoding.append(decodes > 0)
        for request, first, last, _ in ledger.spans().tolist():
            made = [n for n in range(first, last + 1) if n == first or decoding[n]]
            times.setdefault(request, []).extend(ends[n] for n in made)
    return {request: sorted(moments) for request, moments in times.items()}


def table(
    requests: Sequence[Sequence[int]],
    *,
    priority: Any = None,
    session: Any = None,
    segments: Sequence[Sequence[tuple[int, int]]] | None = None,
    closed_loop: ClosedLoop | None = None,
) -> Workload:
    """Return a workload of (arrival in ps, prompt tokens, output tokens); segments are (content id, end token)."""

    def ints(values: Any) -> Any:
        return None if values is None else np.array(values, np.int64)

    prefix = None
    if segments is not None:
        flat = [segment for row in segments for segment in row]
        offsets = np.cumsum([0, *(len(row) for row in segments)])
        prefix = PrefixTable(offsets, ints([id_ for id_, _ in flat]), ints([end for _, end in flat]))
    arrival, prompt, output = (ints([row[column] for row in requests]) for column in range(3))
    return Workload("made up", "a test", arrival, prompt, output, ints(priority), session=ints(session), prefix=prefix,
                    closed_loop=closed_loop)  # fmt: skip


@st.composite
def workloads(draw: st.DrawFn, *, prefixes: bool | None = None, most: int = 40) -> Workload:
    """Draw a workload: ties and bursts, one-token outputs, priorities, sessions, shared prefixes, open or closed loop.

    Hypothesis draws what kind of workload it is and how many requests it has; a seed fills the columns, since drawing
    hundreds of numbers takes fifty times longer than simulating them.
    """
    count = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    pace = draw(st.sampled_from([0, 2, 10, 40])) * ITERATION_PS

    def some(low: int, high: int) -> Any:
        return rng.integers(low, high, count, endpoint=True)

    # Ties, whole iterations (so that arrivals meet the ends of iterations), anything, and a long silence.
    gaps = np.choose(some(0, 3), [some(0, 0), some(0, 3) * ITERATION_PS, some(0, pace), some(0, pace)])
    gaps += 10**13 * (some(0, 30) == 0)
    prompt = some(1, draw(st.sampled_from([8, 150])))
    output = np.where(some(0, 5) == 0, 1, some(1, draw(st.sampled_from([3, 150]))))
    priority = some(0, 3) if draw(st.booleans()) else None
    session = some(-1, 4) if draw(st.booleans()) else None
    segments = None
    if draw(st.booleans()) if prefixes is None else prefixes:
        segments = [_segments(group, tokens) for group, tokens in zip(some(0, 3), prompt, strict=True)]
    loop = None
    if draw(st.booleans()):
        think = draw(st.sampled_from([0, 1, ITERATION_PS, 7 * ITERATION_PS + 3]))
        loop = ClosedLoop(draw(st.integers(1, 2 * count)), think)
    rows = list(zip(np.cumsum(gaps), prompt, output, strict=True))
    return table(rows, priority=priority, session=session, segments=segments, closed_loop=loop)


def _segments(group: int, prompt: int) -> list[tuple[int, int]]:
    """Split a prompt's first tokens: 40 shared by all but group 0, then 30 by a group; the rest is its own."""
    if group == 0:
        return []
    shared = [(1, 40), (10 + group, 70)]
    return [(id_, end) for id_, end in shared if end <= prompt] or [(1, prompt)]


_WIDTHS = st.integers(1, 200)
_COSTS = st.one_of(
    st.tuples(st.just("fixed"), st.tuples(st.sampled_from([ITERATION_PS, 1, 777_777_777]))),
    st.tuples(
        st.just("roofline"),
        st.tuples(st.sampled_from(["h100_sxm", "l40s"]), st.sampled_from(["llama-3.1-8b", "opt-13b"])),
    ),
    # Kernels, kernels under a floor of the host's, and layers with skew: what a closed form can go wrong at.
    st.tuples(
        st.just("measured"),
        st.sampled_from([(), ("h100_sxm", "llama-3.1-8b", "trtllm"), ("rtx_4090", "llama-3.1-8b")]),
    ),
    st.tuples(
        st.just("knotty"),
        st.tuples(_WIDTHS, _WIDTHS, st.lists(st.integers(0, 100_000), min_size=1, max_size=3).map(tuple)),
    ),
)
# KV cache in tokens, so that small blocks do not mean a small cache: too small for some requests, tight, or ample.
_KV_TOKENS = st.sampled_from([300, 180, 160, 220, 450, 1000, 8000, 60])


@st.composite
def instances(draw: st.DrawFn) -> InstanceSetup:
    """Draw an instance: from a KV pool that forces preemptions to one that never does, few slots to many."""
    block_size, max_num_seqs = draw(st.sampled_from([1, 2, 3, 8, 16, 32])), draw(st.integers(1, 12))
    return InstanceSetup(
        scheduler=draw(st.sampled_from(_SCHEDULERS)),
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_seqs + draw(st.sampled_from([500, 0, 1, 7, 40])),
        policy=draw(st.sampled_from(["fcfs", "priority"])),
        blocks=draw(_KV_TOKENS) // block_size,
        block_size=block_size,
        caching=draw(st.booleans()),
        max_model_len=draw(st.sampled_from([4096, 4096, 4096, 100])),
        cost=draw(_COSTS),
        admission_lag=draw(st.sampled_from([0, 1])),
        chunked=draw(st.booleans()),
        host_tokens=draw(st.sampled_from([0, 200, 10_000, 30])),
        preemption=draw(st.sampled_from(["recompute", "swap"])),
        intake_ps=draw(st.sampled_from([0, 0, 1, ITERATION_PS, 3 * ITERATION_PS + 7])),
    )


@st.composite
def worlds(draw: st.DrawFn, *, prefixes: bool | None = None) -> World:
    """Draw a world of one to four instances, alike or of different kinds."""
    workload, kinds = draw(workloads(prefixes=prefixes)), draw(st.lists(instances(), min_size=1, max_size=4))
    if draw(st.booleans()):
        kinds = [kinds[0]] * len(kinds)
    if draw(st.booleans()):
        # Memory for the largest request (without its last token, which is never written) and little beside it: whoever
        # runs together gets into each other's way.
        most = int((workload.prompt_tokens + workload.output_tokens).max()) + draw(st.sampled_from([0, 5, 40, -1]))
        kinds = [setup.tightened(most) for setup in kinds[:2]]
    return World(workload, tuple(kinds), draw(st.sampled_from(_ROUTERS)), draw(st.integers(0, 3)))


def with_output(workload: Workload, index: int, tokens: int) -> Workload:
    """Return a workload in which one request asks for another number of output tokens."""
    output = workload.output_tokens.copy()
    output[index] = tokens
    return replace(workload, output_tokens=output)
