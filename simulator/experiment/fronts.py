"""From ``cluster:`` to what stands before the instances: a router, migration, or a split of prefill and decode.

What most clusters have none of is loaded for those that do, so that the others start sooner.
"""

from simulator.cluster.divided import Among, Divided
from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.core import InputError
from simulator.experiment.cluster_sections import MigrationSpec
from simulator.experiment.groups import Group, topology_of
from simulator.experiment.schema import ClusterSpec
from simulator.experiment.served import Models


def front_of(cluster: ClusterSpec, models: Models, seed: int) -> Router | Front:
    """Return a cluster's router or front; InputError names the key of what does not fit together.

    With several models, each has a front like that to itself, over the instances that serve it.
    """
    _check(cluster)
    topology = topology_of(cluster)
    every = [spec for spec in cluster.instances for _ in range(spec.count)]
    groups = [
        Group(each.model, each.members, [every[index] for index in each.members], topology) for each in models.served
    ]
    if len(groups) == 1:
        return _front(cluster, groups[0], seed)
    fronts = []
    for group, each in zip(groups, models.served, strict=True):
        try:
            fronts.append((_front(cluster, group, seed), group.members))
        except InputError as error:
            message = f"instances of {each.name}: {error.message}"
            raise InputError(message, where=error.where or "cluster.instances", hint=error.hint) from None
    asked = models.asked
    return Divided(fronts, lambda request: asked[request.model])


def _check(cluster: ClusterSpec) -> None:
    """Raise InputError for sections that exclude each other, or that no instance has a role for."""
    if cluster.migration is not None and cluster.borrowing is not None:
        raise InputError("migration and borrowing at once", where="cluster.borrowing", hint="keep one of them")
    roles = any(spec.role != "mixed" for spec in cluster.instances)
    moves = cluster.migration is not None or cluster.borrowing is not None
    if cluster.faults is not None or cluster.autoscaling is not None:
        if moves or roles:
            raise InputError(
                "instances that come and go behind anything but a router",
                where="cluster.faults" if cluster.faults is not None else "cluster.autoscaling",
                hint="leave out migration, borrowing and roles;"
                " faults.in_flight: migrate moves them before a spot ends",
            )
    elif not roles and cluster.disaggregation is not None:
        hint = "role: prefill for some, decode for others"
        raise InputError("no instance has a role", where="cluster.disaggregation", hint=hint)
    elif roles and moves:
        key = "migration" if cluster.migration is not None else "borrowing"
        raise InputError(
            f"{key} between instances with roles", where=f"cluster.{key}", hint=f"leave out role, or cluster.{key}"
        )


def _front(cluster: ClusterSpec, group: Group, seed: int) -> Router | Front:
    """Return what stands before the instances of one model."""
    router = ROUTERS.make(cluster.router.name, cluster.router.params)
    if any(spec.role != "mixed" for spec in group.specs):
        from simulator.experiment.disaggregation import disaggregated

        return disaggregated(cluster.disaggregation, group, router)
    among = router
    if len(group.members) < sum(spec.count for spec in cluster.instances):
        among = Among(router, group.members)
    if cluster.faults is not None or cluster.autoscaling is not None:
        from simulator.experiment.fleets import fleet

        copying = None
        if cluster.faults is not None and cluster.faults.in_flight == "migrate":
            from simulator.experiment.migration import migrating

            copying = migrating(MigrationSpec(), group, among).copying
        return fleet(cluster, group, among, copying, seed)
    if cluster.migration is not None:
        from simulator.experiment.migration import migrating

        return migrating(cluster.migration, group, among)
    if cluster.borrowing is not None:
        from simulator.experiment.migration import lending

        return lending(cluster.borrowing, group, among)
    return router
