"""From ``cluster.migration`` to the front that moves decoding requests between instances."""

from collections.abc import Sequence

from simulator.cluster.llumnix import Llumnix
from simulator.cluster.migration import Copying
from simulator.cluster.router import Router
from simulator.cluster.topology import Topology
from simulator.cluster.virtual_usage import VirtualUsage
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import MigrationSpec
from simulator.experiment.schema import InstanceSpec
from simulator.model.transformer import Transformer
from simulator.scheduling.registry import SCHEDULERS


def migrating(
    choice: MigrationSpec, specs: Sequence[InstanceSpec], router: Router, topology: Topology, model: Transformer
) -> Llumnix:
    """Return the front of a cluster whose requests migrate; InputError where one cannot go on with another's."""
    shapes = {
        (model.with_precision(spec.quantization, spec.kv_cache_dtype).kv_bytes_per_token(), spec.block_size)
        for spec in specs
    }
    if len(shapes) > 1:
        raise InputError(
            "requests cannot migrate between instances that keep KV in different formats or block sizes",
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
    ((token_bytes, _),) = shapes
    copying = Copying(topology, token_bytes, last_blocks=choice.last_blocks, stages=choice.stages)
    usage = VirtualUsage(choice.urgent, choice.headroom)
    return Llumnix(router, copying, usage, period=to_ps(choice.period), threshold=choice.threshold)
