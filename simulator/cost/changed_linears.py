"""Terms whose matrix products a technique replaces by others, or adds to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from simulator.core import InputError
from simulator.cost.build import kernel_library
from simulator.cost.linear import LinearTimes
from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms
from simulator.hardware.engine_profile import EngineProfile
from simulator.hardware.profile import Profile
from simulator.model import Attention, Linear, Mlp, Transformer

Float = NDArray[np.float64]


class Replacement(Protocol):
    """What takes a matrix product's place."""

    def seconds(self, tokens: Float) -> Float:
        """Return its seconds for each number of tokens."""
        ...


class Factors:
    """Matrix products one after the other."""

    def __init__(self, times: LinearTimes, linears: Sequence[Linear]) -> None:
        self._times = times
        self._linears = linears

    def seconds(self, tokens: Float) -> Float:
        """Return their seconds for each number of tokens."""
        return np.asarray(sum(self._times.seconds(linear, tokens) for linear in self._linears))


def factors(linear: Linear, kept: float) -> tuple[Linear, Linear]:
    """Return the two products of rank r = kept * m * n / (m + n), rounded down, in place of one of m inputs, n outputs.

    InputError where the rank would be 0.
    """
    rank = int(kept * linear.weights / (linear.inputs + linear.outputs))
    if rank < 1:
        raise InputError(f"keeping {kept:.3g} of {linear.inputs} x {linear.outputs} weights leaves rank 0")
    name = linear.name
    return (
        Linear(f"{name}_in", linear.inputs, rank, linear.dtype),
        Linear(f"{name}_out", rank, linear.outputs, linear.dtype),
    )


def dense_linears(model: Transformer, tensor_parallel: int) -> Iterator[tuple[int, Linear]]:
    """Yield the layers' matrix products on one GPU, each with the number of layers that have it.

    InputError for models with experts or latent attention, most of whose weights are in modules measured whole.
    """
    for kind in model.kinds:
        if not isinstance(kind.attention, Attention) or not isinstance(kind.mlp, Mlp):
            raise InputError(
                f"{model.name} has experts or latent attention, measured as whole modules", hint="a dense model"
            )
        for linear in model.linears(kind, tensor_parallel):
            yield kind.count, linear


class ChangedLinears(WrappedTerms):
    """Terms with another time for each matrix product of the layers; head and embedding stay as they are.

    What a product takes now and what it would take are both looked up as the engine's kernels; the difference is added.
    """

    def __init__(
        self,
        terms: Terms,
        note: str,
        model: Transformer,
        profile: Profile,
        engine: EngineProfile,
        tensor_parallel: int,
        replacement: Callable[[LinearTimes, Linear], Replacement],
    ) -> None:
        super().__init__(terms, "matrix products of the layers", note)
        self._times = LinearTimes(profile, kernel_library(profile.tables, engine.kernels))
        self._changed = [
            (count, linear, replacement(self._times, linear)) for count, linear in dense_linears(model, tensor_parallel)
        ]

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        return np.asarray(self._terms.dense(tokens) + self._more(tokens))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same for iterations with prompt chunks."""
        return np.asarray(self._terms.dense_with_prompts(tokens) + self._more(tokens))

    def _more(self, tokens: Float) -> Float:
        more = np.zeros_like(tokens)
        for count, linear, new in self._changed:
            more = more + count * (new.seconds(tokens) - self._times.seconds(linear, tokens))
        return more


class AddedLinears(WrappedTerms):
    """Terms with further matrix products, each as often as said."""

    def __init__(
        self,
        terms: Terms,
        name: str,
        profile: Profile,
        engine: EngineProfile,
        products: Sequence[tuple[int, Linear]],
    ) -> None:
        super().__init__(terms, name, "kernels of the engine")
        self._times = LinearTimes(profile, kernel_library(profile.tables, engine.kernels))
        self._products = products

    def dense(self, tokens: Float) -> Float:
        """Return seconds of everything that depends on the number of tokens alone."""
        return np.asarray(self._terms.dense(tokens) + self._more(tokens))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return the same for iterations with prompt chunks."""
        return np.asarray(self._terms.dense_with_prompts(tokens) + self._more(tokens))

    def _more(self, tokens: Float) -> Float:
        return np.asarray(sum(count * self._times.seconds(linear, tokens) for count, linear in self._products))
