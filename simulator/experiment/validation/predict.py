"""The one way every validation simulates: a setup serving a workload, in this process."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.core import PS_PER_MS, PS_PER_S, InputError, Streams
from simulator.engine.latencies import InterTokenLatencies
from simulator.engine.ledger import Ledger
from simulator.experiment.assemble import assemble
from simulator.experiment.metrics import RequestTable
from simulator.experiment.schema import Experiment
from simulator.experiment.validation.setup import Setup
from simulator.experiment.validation.warm_cluster import LedgerSince, WarmCluster
from simulator.workload.table import Workload

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    """What was simulated: an entry a measured request, in the order they were sent; warm-ups are left out.

    Latencies as ``vllm bench serve`` defines them, in ms: ``ttft`` from sending, ``tpot`` (end - first token) / (output
    tokens - 1), NaN for one-token outputs, ``e2el`` from sending to the last token. ``sent`` and ``ended`` are seconds.
    """

    ttft: Float
    tpot: Float
    e2el: Float
    sent: Float
    ended: Float
    output_tokens: Float
    preemptions: int
    kinds: Sequence[dict[str, Any]]
    coverage: dict[str, Any]
    ledgers: Sequence[Ledger]

    def itl(self, percent: float) -> float:
        """Return a percentile of the gaps between a request's tokens, over all gaps, in ms."""
        return InterTokenLatencies(self.ledgers).percentile(percent) / PS_PER_MS


def predict(setup: Setup, workload: Workload, *, warmups: int = 0, seed: int = 0) -> Prediction:
    """Simulate a setup under a workload whose first ``warmups`` requests are not measured.

    InputError where the setup cannot be simulated or a request can never be served.
    """
    return predict_experiment(setup.experiment(workload.name), workload, warmups=warmups, seed=seed)


def predict_experiment(
    config: Experiment, workload: Workload, *, warmups: int = 0, seed: int | None = None
) -> Prediction:
    """Simulate an experiment's cluster under a workload that is not the experiment's own; see ``predict``."""
    assembly = assemble(config, workload)
    rng = Streams(config.seed if seed is None else seed).get("router")
    cluster = WarmCluster(assembly.servers, assembly.router, workload, rng, warmups=warmups)
    cluster.run()
    requests = cluster.requests[warmups:]
    if failed := [request for request in requests if request.failure is not None]:
        raise InputError(f"{len(failed)} of {len(requests)} requests cannot be served: {failed[0].failure}")
    table = RequestTable.of(requests)
    return Prediction(
        table.ttft_ms(),
        table.tpot_ms(),
        table.e2el_ms(),
        table.arrival / PS_PER_S,
        table.finished / PS_PER_S,
        table.output_tokens.astype(np.float64),
        int(table.preemptions.sum()),
        assembly.kinds,
        assembly.coverage(int((workload.prompt_tokens + workload.output_tokens).max())),
        [LedgerSince(server.core.ledger, cluster.measured_from) for server in assembly.servers],
    )
