"""From ``cluster.migration`` and ``cluster.borrowing`` to the fronts that move requests, or lend memory."""

from collections.abc import Sequence

from simulator.cluster.infinite_llm import InfiniteLLM
from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying
from simulator.cluster.router import Router
from simulator.cluster.topology import Topology
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import BorrowingSpec, MigrationSpec
from simulator.experiment.schema import InstanceSpec
from simulator.model.transformer import Transformer
from simulator.scheduling.registry import SCHEDULERS


def migrating(
    choice: MigrationSpec, specs: Sequence[InstanceSpec], router: Router, topology: Topology, model: Transformer
) -> Llumnix:
    """Return the front of a cluster whose requests migrate; InputError where one cannot go on with another's."""
    token_bytes = _token_bytes(specs, topology, model)
    copying = Copying(topology, token_bytes, last_blocks=choice.last_blocks, stages=choice.stages)
    usage = VirtualUsage(choice.urgent, choice.headroom)
    return Llumnix(router, copying, usage, period=to_ps(choice.period), threshold=choice.threshold)


def lending(
    choice: BorrowingSpec, specs: Sequence[InstanceSpec], router: Router, topology: Topology, model: Transformer
) -> InfiniteLLM:
    """Return the front of a cluster whose instances lend each other KV memory; InputError where they cannot."""
    token_bytes = _token_bytes(specs, topology, model)
    # The queries go out and the partial results come back, for each layer.
    messages = 2 * model.layers * topology.latency
    return InfiniteLLM(
        router,
        topology,
        token_bytes,
        period=to_ps(choice.period),
        message_ps=messages,
        spare=choice.spare,
        keep=choice.keep,
    )


def _token_bytes(specs: Sequence[InstanceSpec], topology: Topology, model: Transformer) -> float:
    """Return the KV bytes of a token on all instances; InputError if they differ, or cannot reach each other."""
    shapes = {
        (model.with_precision(spec.quantization, spec.kv_cache_dtype).kv_bytes_per_token(), spec.block_size)
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
    for index in range(1, len(specs)):
        topology.path(0, index)
        topology.path(index - 1, index)
    return float(shapes.pop()[0])
