"""Prompt tokens found in a prefix cache by its size: in a simulated instance, and by replaying block hashes alone."""

from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from simulator.cluster.cluster import Cluster
from simulator.core import Streams
from simulator.experiment.assemble import assemble
from simulator.experiment.load import load_mapping
from simulator.experiment.techniques.stack import workload_of
from simulator.workload.readers import read_trace
from simulator.workload.readers.mooncake import BLOCK_TOKENS
from simulator.workload.table import Workload
from simulator.workload.transforms import keep_first

# Cache sizes in blocks of the trace's 512 tokens.
SIZES = (1000, 3000, 10_000, 30_000, 100_000)
_BLOCK_SIZE = 16
# So slow that an instance is mostly alone with one request, whose blocks are all that it cannot give away.
_RATE_SCALE = 0.1


class HitRate(NamedTuple):
    """Shares of prompt tokens found in a cache of ``blocks`` x 512 tokens: ``simulated``, and ``replayed``."""

    blocks: int
    simulated: float
    replayed: float


def hit_rates(trace: Path, sizes: tuple[int, ...] = SIZES, requests: int | None = None) -> list[HitRate]:
    """Return hit rates on a Mooncake trace, or on its first ``requests``, by cache size."""
    whole = read_trace(trace)
    workload = whole if requests is None else keep_first(whole, requests)
    return [HitRate(size, _simulated(trace, size, requests), replayed_hits(workload, size)) for size in sizes]


def replayed_hits(workload: Workload, blocks: int) -> float:
    """Return the share of prompt tokens that a cache of so many blocks holds: longest unused given away first.

    Of one prompt's blocks the last counts as the longest unused: without those before it, it is of no use.
    """
    prefix = workload.prefix
    assert prefix is not None
    cache: OrderedDict[int, None] = OrderedDict()
    ids, ends, offsets = prefix.ids.tolist(), prefix.end_tokens.tolist(), prefix.offsets.tolist()
    found = 0
    for low, high in pairwise(offsets):
        hits = 0
        while low + hits < high and ids[low + hits] in cache:
            hits += 1
        found += ends[low + hits - 1] if hits else 0
        for block in reversed(ids[low:high]):
            cache[block] = None
            cache.move_to_end(block)
        while len(cache) > blocks:
            cache.popitem(last=False)
    return found / int(workload.prompt_tokens.sum())


def _simulated(trace: Path, blocks: int, requests: int | None) -> float:
    limit = {} if requests is None else {"limit": requests}
    config = (
        load_mapping(
            {
                "workload": {"trace": str(trace.resolve()), "rate_scale": _RATE_SCALE, **limit},
                "model": "llama-3.1-8b",
                "cluster": {"instances": [{"hardware": "h100_sxm", "block_size": _BLOCK_SIZE}]},
                "techniques": [{"name": "prefix_caching", "blocks": blocks * BLOCK_TOKENS // _BLOCK_SIZE}],
            },
            Path(),
        )
        .runs[0]
        .config
    )
    workload = workload_of(config, Path())
    assembly = assemble(config, workload)
    cluster = Cluster(assembly.servers, assembly.router, workload, Streams(config.seed).get("router"))
    cluster.run()
    return sum(request.cached for request in cluster.requests) / int(workload.prompt_tokens.sum())
