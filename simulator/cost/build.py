"""From a model, a GPU, an engine's build and a split to a cost model."""

from collections.abc import Callable
from functools import lru_cache
from re import findall
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError
from simulator.cost.experts import Untuned
from simulator.cost.iteration import IterationCost, LayerCosts
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.layer_terms import LayerTerms, measured_layers
from simulator.cost.parallelism import Parallelism
from simulator.cost.pipeline import PipelineTerms
from simulator.cost.sampling import DrawnTokens
from simulator.cost.terms import Terms
from simulator.hardware.engine_profile import Build, EngineProfile, Host
from simulator.hardware.profile import Profile
from simulator.hardware.tables import Tables
from simulator.model import Experts, LayerKind, Transformer

Float = NDArray[np.float64]
Sampling = Literal["greedy", "random", "top_p"]


def build_cost(
    model: Transformer,
    profile: Profile,
    engine: EngineProfile,
    build: Build,
    host: Host,
    parallel: Parallelism,
    adapt: Callable[[Terms], Terms] | None = None,
    *,
    sampling: Sampling = "greedy",
) -> IterationCost:
    """Return what iterations of one instance cost; InputError where the model or the GPUs do not split that way.

    ``host`` is the build's, behind its server or in process. ``adapt`` changes what the kernels of one group of GPUs
    take, before pipeline stages. ``sampling``: how tokens are chosen: the most probable, one drawn from all, or
    from the most probable ones (top_p), for which the engine sorts the logits.
    """
    model.check_split(parallel.tensor, parallel.expert, parallel.pipeline)
    link = profile.allreduce
    if parallel.tensor > 1 and link is None:
        raise InputError(
            f"tensor_parallel {parallel.tensor}: no all-reduce of {profile.name} was measured",
            hint="run all_reduce_perf and import it with 'tokenyard profiles import nccl_tests'",
        )
    if link is not None and parallel.tensor > link.most_gpus:
        raise InputError(
            f"tensor_parallel {parallel.tensor}: all-reduces of {profile.name} were measured on up to "
            f"{link.most_gpus} GPUs"
        )
    untuned = Untuned(host.untuned_experts, frozenset(engine.tuned_experts))
    terms = _terms(model, profile, engine.kernels, build.captured, parallel, untuned)
    if sampling != "greedy":
        if build.draw_bytes is None or (sampling == "top_p" and build.top_p is None):
            raise InputError(f"sampling '{sampling}': what it takes {engine.name} ({build.name}) was not measured")
        sort = build.top_p if sampling == "top_p" else None
        terms = DrawnTokens(terms, model.vocab, profile, build.draw_bytes, sort)
    if adapt is not None:
        terms = adapt(terms)
    if parallel.pipeline > 1:
        terms = PipelineTerms(terms, parallel.pipeline, _hop(model, profile))
    provenance = {f"hardware {key}": text for key, text in profile.provenance.items()}
    provenance |= {f"engine {engine.name} {build.name} {key}": text for key, text in build.provenance.items()}
    return IterationCost(terms, host, build.captured, provenance, layer_costs(model, host))


def _hop(model: Transformer, profile: Profile) -> Callable[[Float], Float]:
    """Return what hands a token's activations on to the GPUs of the next stage: the link's latency and bandwidth."""
    link = profile.allreduce
    if link is None:
        raise InputError(f"pipeline_parallel: {profile.name} has no link between GPUs measured")
    return lambda tokens: link.latency + 2.0 * model.hidden * tokens / link.bandwidth


def layer_costs(model: Transformer, host: Host) -> LayerCosts:
    """Return what the host spends on launching layers, and more on those with experts and those in fp8 blocks."""
    experts = sum(kind.count for kind in model.kinds if isinstance(kind.mlp, Experts))
    blocks = sum(kind.count for kind in model.kinds if in_blocks(model, kind))
    return LayerCosts(
        always=experts * host.expert_layer + blocks * host.block_layer,
        launched=blocks * host.block_chunk,
        least=model.layers * host.launch_layer + experts * host.launch_experts,
    )


def in_blocks(model: Transformer, kind: LayerKind) -> bool:
    """Tell whether a layer's attention projections or experts are fp8 in blocks."""
    precision = model.precision_of(kind)
    return "fp8_block" in (
        precision.attention,
        precision.experts if isinstance(kind.mlp, Experts) else precision.linear,
    )


@lru_cache(maxsize=64)  # hundreds of validated points differ in load alone
def _terms(
    model: Transformer, profile: Profile, kernels: str, captured: int, parallel: Parallelism, untuned: Untuned
) -> Terms:
    layers = measured_layers(profile.tables, model, parallel.tensor)
    if layers is not None and parallel.expert == 1:
        return LayerTerms(model, profile, parallel, *layers, kernel_library(profile.tables, kernels))
    return KernelTerms(
        model,
        profile,
        parallel,
        kernel_library(profile.tables, kernels),
        untuned=untuned,
        captured=captured,
        captured_libraries=[name for name in profile.tables.libraries() if profile.tables.measured(name, "gemm")],
    )


def kernel_library(tables: Tables, kernels: str) -> str | None:
    """Return the library of single kernels of an engine, of its newest version measured.

    Without one, the newest that this project's microbenchmarks measured; None without any.
    """
    measured = [name for name in tables.libraries() if tables.measured(name, "gemm")]
    own = [name for name in measured if name.startswith(f"{kernels}-")]
    return max(own or [name for name in measured if name.startswith("microbench-")], key=_version, default=None)


def _version(library: str) -> list[int]:
    return [int(number) for number in findall(r"\d+", library)]
