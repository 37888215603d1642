"""Two of four weights kept, which tensor cores can skip: semi-structured sparsity."""

from typing import Annotated

from pydantic import Field

from simulator.cost.changed_linears import ChangedLinears, dense_linears
from simulator.cost.kv_memory import Held
from simulator.cost.linear import LinearTimes
from simulator.cost.sparse_linears import SparseTimes, sparse_bytes
from simulator.cost.terms import Terms
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Linear


@technique("sparsity_2_4")
class Sparsity24(Technique):
    """Two weights of each four are kept, with an index of 2 bits each: of 16-bit weights 9/16 of the bytes are left.

    Products run ``speedup`` times as fast where FLOPs bound them. Tensor cores promise 2; E-Sparse measured 1.24 to
    1.53 on Ampere with cuSPARSELt, and 43.5 % less memory. Embedding and head stay dense.
    """

    level = "model"
    source = "NVIDIA's 2:4 format, arXiv 2104.08378; speedup of products: E-Sparse, arXiv 2310.15929"
    changes = "bytes of weights * (bits / 2 + 1) / bits; FLOP/s of their products * speedup"
    exclusive = "zeros in the weights"

    def __init__(self, *, speedup: Annotated[float, Field(ge=1, le=2)] = 1.53) -> None:
        self._speedup = speedup

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with sparse products."""

        def sparse(times: LinearTimes, linear: Linear) -> SparseTimes:
            return SparseTimes(times, parts.profile, linear, self._speedup)

        note = f"2:4 sparse, {self._speedup:g} times the FLOP/s, scaled from the dense ones by their rooflines"
        return ChangedLinears(terms, note, parts.model, parts.profile, parts.engine, parts.parallel.tensor, sparse)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with fewer bytes of weights."""
        linears = dense_linears(parts.model, parts.parallel.tensor)
        saved = sum(count * (linear.weight_bytes - sparse_bytes(linear)) for count, linear in linears)
        return held._replace(weights=held.weights - saved / parts.parallel.pipeline)
