"""Clusters that serve several models, behind every front there is: no request, KV block or byte goes to another's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.worlds import Outcome, history, token_times

from simulator.cluster.cluster import Cluster
from simulator.cluster.registry import ROUTERS
from simulator.core import Streams
from simulator.experiment.assemble import assemble
from simulator.experiment.load import load_mapping
from simulator.experiment.techniques.stack import workload_of
from simulator.model import load_model

MODELS = ("llama-3.1-8b", "llama-3.2-3b")
ROUTER_NAMES = st.sampled_from(ROUTERS.names())
# The sections of a front, what its instances need beside that, and the roles of a model's instances in turn.
FRONTS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "router": ({}, {}, ("mixed",)),
    "migration": ({"migration": {"period": "20ms", "threshold": 60}}, {}, ("mixed",)),
    "borrowing": ({"borrowing": {"period": "20ms"}}, {"prefix_caching": False}, ("mixed",)),
    "1P1D": ({"disaggregation": {"mode": "pull"}}, {}, ("prefill", "decode")),
    "splitwise": ({"disaggregation": {"splitwise": {}}}, {"scheduler": "splitwise"}, ("prefill", "decode")),
    "tetriinfer": (
        {"disaggregation": {"tetriinfer": {"flip_after": "100ms"}}},
        {"scheduler": "tetriinfer"},
        ("prefill", "decode"),
    ),
    "faults": (
        {
            "faults": {
                "in_flight": "migrate",
                "random": [
                    {"kind": "crash", "mtbf": "2s", "lasts": "300ms"},
                    {"kind": "spot", "mtbf": "3s", "grace": "100ms", "lasts": "500ms"},
                    {"kind": "link_loss", "mtbf": "3s", "lasts": "200ms"},
                ],
            }
        },
        {},
        ("mixed",),
    ),
    "autoscaling": (
        {"autoscaling": {"policy": "queue", "startup": "200ms", "period": "100ms", "calm": "300ms"}},
        {},
        ("mixed",),
    ),
}


@dataclass
class Ran:
    """A run, and which instances serve each model (by its number)."""

    cluster: Cluster
    outcome: Outcome
    members: list[set[int]]


@st.composite
def experiments(draw: st.DrawFn, fronts: st.SearchStrategy[str]) -> dict[str, Any]:
    """Draw two models on one to three kinds of instances each, in any order, behind a front."""
    sections, more, roles = FRONTS[draw(fronts)]
    share = draw(st.floats(0.1, 0.9))
    kinds = [
        {"model": model, "role": role, "count": draw(st.integers(1, 2)), "hardware": "h100_sxm",
         "kv_blocks": draw(st.integers(150, 400)), "scheduler": "vllm", **more}
        for model in MODELS for role in roles for _ in range(draw(st.integers(1, 2)))
    ]  # fmt: skip
    router = draw(ROUTER_NAMES) if sections.keys() <= {"migration", "faults", "autoscaling"} else "least_outstanding"
    return {
        "seed": draw(st.integers(0, 1000)),
        "workload": {
            "arrivals": {"process": "poisson", "rate": "60/s"},
            "prompt": {"distribution": "lognormal", "median": 300, "sigma": 0.8, "max": 1800},
            "output": {"distribution": "uniform", "min": 1, "max": 120},
            "requests": 40,
            "clients": {"count": 5},
            "models": dict(zip(MODELS, (share, 1 - share), strict=True)),
        },
        "model": MODELS[0],
        "cluster": {
            "instances": draw(st.permutations(kinds)),
            "router": router,
            "links": {"within_node": "100GB/s", "between_nodes": "20GB/s", "latency": "20us"},
            **sections,
        },
    }


def ran(values: dict[str, Any], *, exact_steps: bool = False) -> Ran:
    """Run an experiment to its end."""
    config = load_mapping(values, Path()).runs[0].config
    workload = workload_of(config, Path())
    parts = assemble(config, workload)
    rng = Streams(config.seed).get("router")
    cluster = Cluster(parts.servers, parts.router, workload, rng, exact_steps=exact_steps)
    cluster.run()
    each = [spec.model for spec in config.cluster.instances for _ in range(spec.count)]
    members = [{index for index, model in enumerate(each) if model == name} for name in MODELS]
    return Ran(cluster, Outcome(cluster.requests, parts.servers, cluster.ended), members)


@given(experiments(st.sampled_from([*FRONTS])))
def test_models_are_kept_apart_and_the_fast_path_equals_exact_steps(values: dict[str, Any]):
    fast, exact = ran(values), ran(values, exact_steps=True)
    requests_end_once_on_instances_of_their_model_and_leave_nothing(fast)
    assert [history(request) for request in fast.outcome.requests] == [history(r) for r in exact.outcome.requests]
    assert token_times(fast.outcome) == token_times(exact.outcome)
    assert sorted(fast.cluster.moves) == sorted(exact.cluster.moves)


def requests_end_once_on_instances_of_their_model_and_leave_nothing(run: Ran) -> None:
    cluster, outcome = run.cluster, run.outcome
    assert outcome.ended == len(outcome.requests) == len({request.index for request in outcome.requests}) == 40
    asked = {request.index: request.model for request in outcome.requests}
    assert set(asked.values()) <= {0, 1}
    for index, ledger in enumerate(outcome.ledgers):
        assert all(index in run.members[asked[request]] for request, *_ in ledger.spans().tolist())
    token_bytes = [load_model(name).kv_bytes_per_token() for name in MODELS]
    for move in cluster.moves:
        model = asked[move.request]
        assert {move.source, move.target} <= run.members[model]
        assert move.size % token_bytes[model] == 0
    for request in outcome.requests:
        assert request.finished_at >= request.arrival
        assert request.failure is not None or request.instance in run.members[request.model]
    for instance in cluster.instances:
        kv = instance.core.kv
        kv.check_integrity()
        assert not instance.core.decodes and not instance.core.scheduler.queue
        lent = sum(
            loan.blocks
            for front in getattr(cluster.front, "fronts", [])
            for loan in getattr(front, "loans", ())
            if loan.creditor is instance and loan.taken
        )
        assert kv.free == kv.total - lent


@settings(max_examples=5)
@pytest.mark.parametrize("router", ROUTERS.names())
@given(values=experiments(st.just("router")))
def test_a_model_alone_is_served_as_in_a_cluster_of_its_own(router: str, values: dict[str, Any]):
    """What one model's requests go through does not depend on the others', whatever router leads them."""
    if router in ("random", "power_of_two"):
        pytest.skip("their draws are another stream's in a cluster of its own")
    values["cluster"]["router"] = router
    together = ran(values)
    mine = [request for request in together.outcome.requests if request.model == 0]
    config = load_mapping(values, Path()).runs[0].config
    workload = workload_of(config, Path())
    alone = workload.take((workload.model == 0).nonzero()[0])
    one = config.model_copy(
        update={
            "workload": config.workload.model_copy(update={"models": None}),
            "cluster": config.cluster.model_copy(
                update={
                    "instances": tuple(
                        spec.model_copy(update={"model": None})
                        for spec in config.cluster.instances
                        if spec.model == MODELS[0]
                    )
                }
            ),
        }
    )
    parts = assemble(one, alone)
    cluster = Cluster(parts.servers, parts.router, alone, Streams(config.seed).get("router"))
    cluster.run()
    assert [history(request)[2:] for request in mine] == [history(request)[2:] for request in cluster.requests]
