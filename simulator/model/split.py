"""Which numbers of GPUs a model can be split over."""

from collections.abc import Callable, Sequence

from simulator.core import InputError
from simulator.model.shape import FP8_BLOCK, Attention, Experts, LayerKind, Precision


def check_split(
    name: str,
    kinds: Sequence[LayerKind],
    precision_of: Callable[[LayerKind], Precision],
    tensor_parallel: int,
    expert_parallel: int,
    pipeline_parallel: int,
) -> None:
    """Raise InputError, naming what does not divide, unless every kind of layer splits over so many GPUs."""
    layers = sum(kind.count for kind in kinds)
    if pipeline_parallel > layers:
        raise InputError(f"pipeline_parallel {pipeline_parallel} is more than the {layers} layers of {name}")
    if expert_parallel > 1 and not any(isinstance(kind.mlp, Experts) for kind in kinds):
        raise InputError(f"expert_parallel {expert_parallel}: {name} has no experts")
    if max(tensor_parallel, expert_parallel) % min(tensor_parallel, expert_parallel):
        raise InputError(
            f"expert_parallel {expert_parallel} neither divides tensor_parallel {tensor_parallel} "
            "nor is a multiple of it"
        )
    for kind in kinds:
        _check_attention(name, kind, tensor_parallel)
        _check_mlp(name, kind, precision_of(kind), tensor_parallel, expert_parallel)


def _check_attention(name: str, kind: LayerKind, tensor_parallel: int) -> None:
    if kind.attention.heads % tensor_parallel:
        raise _indivisible(tensor_parallel, kind.attention.heads, "attention heads", name)
    kv_heads = kind.attention.kv_heads if isinstance(kind.attention, Attention) else 1
    if kv_heads % tensor_parallel and tensor_parallel % kv_heads:
        raise InputError(
            f"tensor_parallel {tensor_parallel} neither divides the {kv_heads} KV heads of {name} "
            "nor is a multiple of them"
        )


def _check_mlp(name: str, kind: LayerKind, precision: Precision, tensor_parallel: int, expert_parallel: int) -> None:
    if not isinstance(kind.mlp, Experts):
        _check_width(name, "MLP columns", kind.mlp.ffn, precision.linear, tensor_parallel)
        return
    if kind.mlp.shared_ffn:
        _check_width(name, "shared expert's columns", kind.mlp.shared_ffn, precision.shared, tensor_parallel)
    if kind.mlp.count % expert_parallel:
        raise InputError(f"expert_parallel {expert_parallel} does not divide the {kind.mlp.count} experts of {name}")
    cuts = max(1, tensor_parallel // expert_parallel)
    _check_width(name, "expert's columns", kind.mlp.ffn, precision.experts, cuts, hint="raise expert_parallel")


def _check_width(name: str, what: str, width: int, dtype: str, cuts: int, hint: str | None = None) -> None:
    if width % cuts:
        raise _indivisible(cuts, width, what, name)
    # vLLM refuses this too: a scale would belong to two GPUs.
    if dtype == "fp8_block" and cuts > 1 and width // cuts % FP8_BLOCK:
        raise InputError(
            f"{name}: an {what} split {cuts} ways leave {width // cuts} each, no multiple of fp8_block's {FP8_BLOCK}",
            hint=hint or "lower tensor_parallel",
        )


def _indivisible(cuts: int, count: int, what: str, name: str) -> InputError:
    return InputError(f"tensor_parallel {cuts} does not divide the {count} {what} of {name}")
