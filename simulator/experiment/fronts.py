"""From ``cluster:`` to what stands before the instances: a router, or a split of prefill and decode."""

from collections.abc import Sequence

from simulator.cluster.disaggregated import Disaggregated, KVShape
from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.topology import Place, Topology
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import DisaggregationSpec
from simulator.experiment.named import Named
from simulator.experiment.schema import ClusterSpec, InstanceSpec
from simulator.hardware.profile import Profile
from simulator.hardware.registry import load_profile
from simulator.model.transformer import Transformer


def front_of(cluster: ClusterSpec, model: Transformer) -> Router | Front:
    """Return a cluster's router or front; InputError names the key of what does not fit together."""
    specs = [spec for spec in cluster.instances for _ in range(spec.count)]
    router = _router(cluster.router)
    if all(spec.role == "mixed" for spec in specs):
        if cluster.disaggregation is not None:
            raise InputError(
                "no instance has a role",
                where="cluster.disaggregation",
                hint="role: prefill for some, decode for others",
            )
        return router
    return _disaggregated(cluster, specs, router, model)


def _disaggregated(
    cluster: ClusterSpec, specs: Sequence[InstanceSpec], router: Router, model: Transformer
) -> Disaggregated:
    if any(spec.role == "mixed" for spec in specs):
        raise InputError(
            "some instances have a role and others none", where="cluster.instances", hint="give all of them a role"
        )
    shapes = {model.with_precision(spec.quantization, spec.kv_cache_dtype).kv_bytes_per_token() for spec in specs}
    if len(shapes) > 1:
        raise InputError(
            "prefill and decode instances keep KV in different formats",
            where="cluster.instances",
            hint="the same kv_cache_dtype for all",
        )
    choice = cluster.disaggregation or DisaggregationSpec()
    return Disaggregated(
        [index for index, spec in enumerate(specs) if spec.role == "prefill"],
        [index for index, spec in enumerate(specs) if spec.role == "decode"],
        router,
        _router(choice.decode_router),
        topology_of(cluster),
        KVShape(shapes.pop(), model.layers),
        transfer=choice.transfer,
        mode=choice.mode,
        backlog=choice.backlog,
    )


def topology_of(cluster: ClusterSpec) -> Topology:
    """Return where a cluster's instances stand and what links they have."""
    links = cluster.links
    places = []
    for spec in cluster.instances:
        gpus = spec.tensor_parallel * spec.pipeline_parallel
        profile = load_profile(spec.hardware)
        within = links.within_node if links.within_node is not None else _within(profile)
        between = links.between_nodes
        if between is None and profile.links.infiniband is not None:
            between = profile.links.infiniband.bandwidth
        place = Place(gpus, None if within is None else gpus * within, None if between is None else gpus * between)
        places += [place] * spec.count
    return Topology(places, links.gpus_per_node, to_ps(links.latency))


def _within(profile: Profile) -> float | None:
    link = profile.links.nvlink or profile.links.pcie
    return None if link is None else link.bandwidth


def _router(choice: Named) -> Router:
    return ROUTERS.make(choice.name, choice.params)
