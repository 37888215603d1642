"""Predictors of output lengths, for policies that rank or reserve by them: each wrong in a way of its own.

A policy takes one as a parameter, by name or with parameters: ``predictor: {kind: noisy, sigma: 0.5}``. A user's own
class is named ``my_module:MyPredictor``.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right, insort
from collections import deque
from hashlib import blake2b
from math import asin, exp, pi, sin, sqrt
from typing import Any, Literal

from simulator.core import InputError, Request
from simulator.core.registry import Registry

PredictorChoice = str | dict[str, Any]  # as YAML has it: a name, or a mapping of ``kind`` and parameters


class Predictor(ABC):
    """Predicts how many tokens a request's output has.

    What it says of a request follows from the request's index and a seed, in whatever order it is asked, unless it
    learns from requests that ended.
    """

    @abstractmethod
    def predict(self, request: Request, made: int = 0) -> float:
        """Return the tokens expected of a whole output, of which ``made`` are there (as far as that tells it more)."""

    def learn(self, request: Request) -> None:  # noqa: B027
        """Hear of a request that made its last token."""


PREDICTORS: Registry[Predictor] = Registry(
    "predictor",
    Predictor,  # type: ignore[type-abstract]
    package="simulator.scheduling",
    group="tokenyard.predictors",
)


def make_predictor(choice: PredictorChoice) -> Predictor:
    """Return the predictor that a policy's parameter names; InputError says what is wrong with it."""
    params = {"kind": choice} if isinstance(choice, str) else dict(choice)
    kind = params.pop("kind", None)
    if not isinstance(kind, str):
        known = ", ".join(PREDICTORS.names())
        raise InputError("predictor: no kind", hint=f"a name ({known}), or {{kind: NAME, parameter: value}}")
    return PREDICTORS.make(kind, params)


def uniform(request: Request, seed: int, purpose: str) -> float:
    """Return a number between 0 and 1 (neither included) that is always the same for a request, seed and purpose."""
    digest = blake2b(f"{purpose} {seed} {request.index}".encode(), digest_size=6).digest()
    return (int.from_bytes(digest, "little") + 0.5) / 2**48


@PREDICTORS.register("oracle")
class Oracle(Predictor):
    """Knows the output's length."""

    def predict(self, request: Request, made: int = 0) -> float:
        """Return the output's length."""
        return request.output_tokens


@PREDICTORS.register("noisy")
class Noisy(Predictor):
    """The output's length times a lognormal error with median 1; ``sigma`` is the deviation of its logarithm."""

    def __init__(self, *, sigma: float, seed: int = 0) -> None:
        if sigma < 0:
            raise InputError(f"sigma is {sigma}", hint="the error's standard deviation on ln(length): 0 or more")
        from statistics import NormalDist

        self.sigma = sigma
        self.seed = seed
        self._normal = NormalDist()

    def predict(self, request: Request, made: int = 0) -> float:
        """Return the wrong length, always the same for a request."""
        return request.output_tokens * exp(self.sigma * self._normal.inv_cdf(uniform(request, self.seed, "noisy")))


@PREDICTORS.register("rank")
class Rank(Noisy):
    """Ranks outputs by length with a Kendall rank correlation of ``tau`` to the truth, as a learned ranker does.

    Noise on ln(length) does it. How much is needed follows from ``spread``, the standard deviation of ln(output tokens)
    in the workload: a correlation r between two normal quantities gives tau = 2/pi asin(r) (Greiner's relation). So it
    is exact for lognormal outputs; ties and other shapes move it, so measure what was reached.
    """

    def __init__(self, *, tau: float = 1.0, spread: float | None = None, seed: int = 0) -> None:
        if not 0 < tau <= 1:
            raise InputError(f"tau is {tau}", hint="a Kendall rank correlation: above 0, at most 1")
        if tau < 1 and spread is None:
            raise InputError("tau below 1 needs spread", hint="the standard deviation of ln(output tokens)")
        super().__init__(sigma=noise_for(tau, spread or 0.0), seed=seed)


def noise_for(tau: float, spread: float) -> float:
    """Return the deviation of the noise that a normal quantity of deviation ``spread`` has a Kendall tau with."""
    return spread * sqrt(1 / sin(pi * tau / 2) ** 2 - 1)


def tau_of(sigma: float, spread: float) -> float:
    """Return the Kendall tau of a normal quantity of deviation ``spread`` and itself with noise ``sigma``."""
    return 2 / pi * asin(spread / sqrt(spread**2 + sigma**2))


@PREDICTORS.register("bucketed")
class Bucketed(Predictor):
    """Says which bucket an output falls into: the right one with probability ``accuracy``, else one beside it.

    Buckets are ``width`` tokens wide, as many as there need be, or have the upper ``edges`` given (longer outputs count
    to the last). What is said of a bucket is its ``upper`` edge, its ``middle`` or its ``lower`` edge. Defaults are
    TetriInfer's classifier, 74.9 % right at 200 tokens (Hu et al., arXiv 2401.11181).
    """

    def __init__(
        self,
        *,
        width: int = 200,
        edges: list[int] | None = None,
        accuracy: float = 0.749,
        says: Literal["lower", "middle", "upper"] = "middle",
        seed: int = 0,
    ) -> None:
        if width < 1:
            raise InputError(f"width is {width}", hint="tokens, at least 1")
        if edges is not None and (not edges or edges[0] < 1 or sorted(set(edges)) != edges):
            raise InputError(f"edges are {edges}", hint="the buckets' upper edges in tokens, rising")
        if not 0 <= accuracy <= 1:
            raise InputError(f"accuracy is {accuracy}", hint="a share of the requests: 0 to 1")
        self.width = width
        self.edges = edges
        self.accuracy = accuracy
        self.says = says
        self.seed = seed

    def predict(self, request: Request, made: int = 0) -> float:
        """Return the edge or the middle of the bucket said, always the same for a request."""
        lower, upper = self._bounds(self._bucket(request))
        return {"lower": lower, "middle": (lower + upper) / 2, "upper": upper}[self.says]

    def _bucket(self, request: Request) -> int:
        edges, output = self.edges, request.output_tokens
        last = None if edges is None else len(edges) - 1
        right = (output - 1) // self.width if edges is None else min(bisect_left(edges, output), len(edges) - 1)
        luck = uniform(request, self.seed, "bucketed")
        if luck < self.accuracy or last == 0:
            return right
        # What is left of the luck decides between the two neighbours, where there are two.
        up = luck < (1 + self.accuracy) / 2
        if right == 0 or (up and right != last):
            return right + 1
        return right - 1

    def _bounds(self, bucket: int) -> tuple[int, int]:
        if self.edges is None:
            return bucket * self.width, (bucket + 1) * self.width
        return (self.edges[bucket - 1] if bucket else 0), self.edges[bucket]


@PREDICTORS.register("history")
class History(Predictor):
    """The mean output of the last ``window`` requests that ended at this instance, of those longer than what is made.

    ``by``: of all requests, of the same client's, or of those with a prompt of a similar length (the same number of
    binary digits). ``prior`` is said until one of them ended, and twice what is made if none was that long.
    """

    def __init__(self, *, window: int = 1000, by: Literal["all", "client", "prompt"] = "all", prior: int = 1) -> None:
        if window < 1 or prior < 1:
            raise InputError(f"window is {window} and prior {prior}", hint="at least 1 request, at least 1 token")
        self.window = window
        self.by = by
        self.prior = prior
        self._seen: dict[int, _Window] = {}

    def predict(self, request: Request, made: int = 0) -> float:
        """Return the mean so far; it changes as requests end."""
        seen = self._seen.get(self._group(request))
        return float(self.prior if seen is None else seen.mean_above(made) or 2 * made)

    def learn(self, request: Request) -> None:
        """Count a request that ended, and forget the oldest one beyond the window."""
        self._seen.setdefault(self._group(request), _Window(self.window)).add(request.output_tokens)

    def _group(self, request: Request) -> int:
        return {"all": 0, "client": request.client, "prompt": request.prompt_tokens.bit_length()}[self.by]


class _Window:
    """The last few lengths, by age and by size."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._by_age: deque[int] = deque()
        self._sorted: list[int] = []
        self._sum = 0

    def add(self, length: int) -> None:
        """Add a length, and forget the oldest beyond the most that are kept."""
        self._by_age.append(length)
        insort(self._sorted, length)
        self._sum += length
        if len(self._by_age) > self._most:
            oldest = self._by_age.popleft()
            self._sorted.pop(bisect_left(self._sorted, oldest))
            self._sum -= oldest

    def mean_above(self, length: int) -> float:
        """Return the mean of those above a length, 0 if there is none."""
        first = bisect_right(self._sorted, length)
        above = len(self._sorted) - first
        if not above:
            return 0.0
        return (self._sum if not first else sum(self._sorted[first:])) / above
