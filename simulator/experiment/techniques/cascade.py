"""A small model first; what it answers badly is asked again of a large one."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.cluster.divided import Divided
from simulator.cluster.front import Front
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.core import InputError
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.workload.table import FollowUps, Workload


@technique("cascade")
class Cascade(Technique):
    """Instances with a ``model`` of their own answer first; the others are asked again for a share of the requests.

    A request's answer is the last one. Which ones are asked again (``escalate``) is drawn at random, and what judges an
    answer takes no time. Either tier has the cluster's router, and latencies count from a request's arrival.
    """

    level = "model"
    source = "Chen et al., FrugalGPT, arXiv 2305.05176, section 3 (LLM cascade)"
    changes = "requests go to a small model's instances, and a share of them then to the large model's"
    exclusive = "requests that follow others"
    has_tiers = True

    def __init__(self, *, escalate: Annotated[float, Field(ge=0, le=1)]) -> None:
        self._escalate = escalate

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Raise InputError unless some instances, not all, have a model of their own, and all do whole requests."""
        small = [spec.model is not None for spec in config.cluster.instances]
        if all(small) or not any(small):
            raise InputError(
                "a cascade needs instances with a model of their own, and some without",
                hint="cluster.instances: [{model: llama-3.2-3b, ...}, {...}]",
            )
        if config.workload.models is not None:
            raise InputError("a cascade decides which model a request goes to", hint="leave out workload.models")
        cluster = config.cluster
        others = (cluster.migration, cluster.borrowing, cluster.faults, cluster.autoscaling, cluster.disaggregation)
        if any(each is not None for each in others) or any(spec.role != "mixed" for spec in cluster.instances):
            raise InputError(
                "a cascade over instances with roles, or that lend, come or go", hint="leave the one or the other out"
            )

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the workload with a second try after each request that is asked again."""
        if workload.follow_ups is not None:
            raise InputError("its requests follow one another already")
        again = rng.random(len(workload)) < self._escalate
        copies = np.where(again, 2, 1)
        rows = np.repeat(np.arange(len(workload)), copies)
        starts = np.cumsum(copies) - copies
        first = np.zeros(len(rows), bool)
        first[starts] = True
        many = workload.take(rows)
        after = np.where(first, -1, starts[rows])
        lead = None if many.lead_ps is None else np.where(first, many.lead_ps, 0)
        return replace(many, lead_ps=lead, follow_ups=FollowUps(after, ~(first & again[rows])))

    def router(self, router: Router | Front, config: Experiment) -> Router | Front:
        """Return a router for each tier."""
        cluster = config.cluster
        specs = [spec for spec in cluster.instances for _ in range(spec.count)]
        small = [index for index, spec in enumerate(specs) if spec.model is not None]
        large = [index for index, spec in enumerate(specs) if spec.model is None]
        first, second = (ROUTERS.make(cluster.router.name, cluster.router.params) for _ in range(2))
        return Divided([(first, small), (second, large)], lambda request: int(request.after >= 0))
