"""From the ``workload:`` section to the requests themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from simulator.core.errors import InputError
from simulator.core.streams import Streams
from simulator.core.units import PS_PER_S
from simulator.workload import transforms
from simulator.workload.clock import LONGEST_DAYS, LONGEST_PS
from simulator.workload.fitted import Fitted
from simulator.workload.generators.arrivals import ClosedLoop, Counts
from simulator.workload.generators.clients import prioritise
from simulator.workload.generators.models import ask_for_models
from simulator.workload.readers import read_trace
from simulator.workload.spec import WorkloadSpec
from simulator.workload.table import ClosedLoop as ClosedLoopTable
from simulator.workload.table import Int, Workload
from simulator.workload.traces import resolve

MOST_REQUESTS = 50_000_000  # ~2 GB of columns; more is a slip in a unit


def build(spec: WorkloadSpec, seed: int, base: Path) -> Workload:
    """Return the requests a spec asks for; relative paths in it are found from ``base``, then the working folder.

    The same spec and seed give the same requests. Each purpose draws from its own stream, so adding prefixes, clients
    or priorities changes no arrival.
    """
    streams = Streams(seed)
    workload = _dress(_recorded_or_made(spec, streams, base), spec, streams)
    if spec.rate_scale != 1:
        workload = transforms.scale_rate(workload, spec.rate_scale)
    if spec.duration is not None:
        workload = transforms.keep_before(workload, spec.duration)
    if spec.sample is not None:
        workload = transforms.keep_sample(workload, spec.sample, streams.get("sample"))
    if spec.limit is not None:
        workload = transforms.keep_first(workload, spec.limit)
    if not len(workload):
        raise InputError("the workload has no requests", where="workload", hint="none arrives in time or is sampled")
    return workload


def generate(spec: WorkloadSpec, streams: Streams, base: Path, requests: int | None, until: float | None) -> Workload:
    """Return made-up requests: the first ``requests``, those before ``until`` seconds, or what satisfies both.

    With neither, recorded counts give their sum; other processes raise InputError.
    """
    process = spec.arrivals
    assert process is not None
    if requests is None and until is None:
        if not isinstance(process, Counts):
            raise InputError("nothing says how many requests to make", where="workload",
                             hint="add 'requests: 1000' or 'duration: 10min'")  # fmt: skip
        requests = sum(process.counts)
    loop = None
    if isinstance(process, ClosedLoop):
        assert requests is not None
        arrival = np.zeros(_checked(requests), np.int64)
        loop = ClosedLoopTable(process.concurrency, round(process.think * PS_PER_S))
    else:
        _checked(min(requests or np.inf, np.inf if until is None else process.expected(until)))
        arrival = _to_clock(process.times(streams.get("arrivals"), requests, until))
    prompt, output = _lengths(spec, streams, base, len(arrival))
    source = f"generated: {process.process} arrivals, seed {streams.seed}"
    workload = Workload(process.process, source, arrival, prompt, output, closed_loop=loop)
    return workload if spec.prefix is None else spec.prefix.apply(workload, streams.get("prefix"))


def _recorded_or_made(spec: WorkloadSpec, streams: Streams, base: Path) -> Workload:
    # Generators make what is left after scaling, so that a duration is never short of requests.
    until = None if spec.duration is None else spec.duration * spec.rate_scale
    if spec.trace is None:
        return generate(spec, streams, base, spec.requests, until)
    origin = resolve(spec.trace, base)
    if isinstance(origin, Fitted):
        if spec.prefix is not None and origin.workload.prefix is not None:
            raise InputError(f"the trace '{origin.name}' brings its own prefixes", where="workload.prefix",
                             hint="leave out 'prefix'")  # fmt: skip
        made = generate(origin.workload, streams, origin.folder, spec.requests, until)
        made = replace(made, name=origin.name, source=f"{origin.source}; seed {streams.seed}")
    else:
        if spec.requests is not None:
            raise InputError("a recorded trace has the requests it has", where="workload.requests",
                             hint="use 'limit' to keep the first ones")  # fmt: skip
        made = read_trace(origin)
        if spec.prefix is not None and made.prefix is not None:
            raise InputError(f"the trace '{spec.trace}' brings its own prefixes", where="workload.prefix",
                             hint="leave out 'prefix'")  # fmt: skip
    return made if spec.prefix is None else spec.prefix.apply(made, streams.get("prefix"))


def _dress(workload: Workload, spec: WorkloadSpec, streams: Streams) -> Workload:
    if spec.clients is not None:
        workload = spec.clients.apply(workload, streams.get("clients"))
    if spec.priorities is not None:
        workload = prioritise(spec.priorities, workload, streams.get("priorities"))
    if spec.models is not None:
        workload = ask_for_models(spec.models, workload, streams.get("models"))
    return workload


def _lengths(spec: WorkloadSpec, streams: Streams, base: Path, requests: int) -> tuple[Int, Int]:
    if spec.lengths is not None:
        return spec.lengths.draw(streams.get("lengths"), requests, base)
    assert spec.prompt is not None and spec.output is not None
    return spec.prompt.draw(streams.get("prompt"), requests), spec.output.draw(streams.get("output"), requests)


def _checked(requests: float) -> int:
    if requests > MOST_REQUESTS:
        raise InputError(f"this would make {requests:.3g} requests; the most is {MOST_REQUESTS}", where="workload",
                         hint="check the units of 'rate' and 'duration'")  # fmt: skip
    return int(requests)


def _to_clock(seconds: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Int:
    if len(seconds) and seconds[-1] * PS_PER_S > LONGEST_PS:
        raise InputError(
            f"arrivals go on for more than {LONGEST_DAYS} days", where="workload.arrivals", hint="check the rate"
        )
    return np.rint(seconds * PS_PER_S).astype(np.int64)
