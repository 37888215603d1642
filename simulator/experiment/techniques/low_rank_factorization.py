"""Each weight matrix as a product of two thinner ones."""

from typing import Annotated

from pydantic import Field

from simulator.cost.changed_linears import ChangedLinears, Factors, dense_linears, factors
from simulator.cost.kv_memory import Held
from simulator.cost.linear import LinearTimes
from simulator.cost.terms import Terms
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Linear


@technique("low_rank_factorization")
class LowRankFactorization(Technique):
    """A matrix of m x n weights becomes m x r and r x n, with r = ``kept`` * m * n / (m + n), rounded down.

    So ``kept`` is the share of weights and FLOPs that is left. Both products run one after the other. Embedding and
    head stay whole; each GPU factorises its share.
    """

    level = "model"
    source = "SVD-LLM, arXiv 2403.07378"
    changes = "each matrix product becomes two with r * (m + n) weights in place of m * n"
    exclusive = "rank of the weights"

    def __init__(self, *, kept: Annotated[float, Field(gt=0, lt=1)] = 0.8) -> None:
        self._kept = kept

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with two products in place of each."""

        def factorised(times: LinearTimes, linear: Linear) -> Factors:
            return Factors(times, factors(linear, self._kept))

        note = f"two of rank r each, {self._kept:.0%} of the weights"
        return ChangedLinears(terms, note, parts.model, parts.profile, parts.engine, parts.parallel.tensor, factorised)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with fewer weights."""
        saved = 0.0
        for count, linear in dense_linears(parts.model, parts.parallel.tensor):
            left = sum(each.weight_bytes for each in factors(linear, self._kept))
            saved += count * (linear.weight_bytes - left)
        return held._replace(weights=held.weights - saved / parts.parallel.pipeline)
