"""From ``cluster.migration`` and ``cluster.borrowing`` to the fronts that move requests, or lend memory."""

from itertools import pairwise

from simulator.cluster.infinite_llm import InfiniteLLM
from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying
from simulator.cluster.router import Router
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import BorrowingSpec, MigrationSpec
from simulator.experiment.groups import Group
from simulator.scheduling.registry import SCHEDULERS


def migrating(choice: MigrationSpec, group: Group, router: Router) -> Llumnix:
    """Return the front of instances whose requests migrate; InputError where one cannot go on with another's."""
    copying = Copying(group.topology, _token_bytes(group), last_blocks=choice.last_blocks, stages=choice.stages)
    usage = VirtualUsage(choice.urgent, choice.headroom)
    return Llumnix(router, copying, usage, period=to_ps(choice.period), threshold=choice.threshold)


def lending(choice: BorrowingSpec, group: Group, router: Router) -> InfiniteLLM:
    """Return the front of instances that lend each other KV memory; InputError where they cannot."""
    # The queries go out and the partial results come back, for each layer.
    messages = 2 * group.model.layers * group.topology.latency
    return InfiniteLLM(
        router,
        group.topology,
        _token_bytes(group),
        period=to_ps(choice.period),
        message_ps=messages,
        spare=choice.spare,
        keep=choice.keep,
    )


def _token_bytes(group: Group) -> float:
    """Return the KV bytes of a token on all instances; InputError if they differ, or cannot reach each other."""
    specs = group.specs
    shapes = {
        (group.model.with_precision(spec.quantization, spec.kv_cache_dtype).kv_bytes_per_token(), spec.block_size)
        for spec in specs
    }
    if len(shapes) > 1:
        raise InputError(
            "KV cannot move between instances that keep it in different formats or block sizes",
            where="cluster.instances",
            hint="the same kv_cache_dtype and block_size for all",
        )
    for spec in specs:
        if not SCHEDULERS.get(spec.scheduler.name).adopts:
            able = [name for name in SCHEDULERS.names() if SCHEDULERS.get(name).adopts]
            raise InputError(
                f"scheduler '{spec.scheduler.name}' cannot go on with requests of another instance",
                where="cluster.instances",
                hint=f"one that can: {', '.join(able)}",
            )
    for before, index in pairwise(group.members):
        group.topology.path(group.members[0], index)
        group.topology.path(before, index)
    return float(shapes.pop()[0])
