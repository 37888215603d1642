"""Iterations in which not every token goes through every layer: early exit and layer skipping."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.core import Request
from simulator.cost.terms import Terms
from simulator.cost.wrapped_terms import WrappedTerms

Float = NDArray[np.float64]


class Depths:
    """How deep tokens go: a ``share`` of them to each of ``depths``, the rest through all layers (depth 1)."""

    def __init__(self, depths: Sequence[float], shares: Sequence[float]) -> None:
        order = np.argsort(depths)
        self.depths = np.append(np.array(depths, np.float64)[order], 1.0)
        self.shares = np.append(np.array(shares, np.float64)[order], 1.0 - sum(shares))
        self.left = np.cumsum(self.shares)  # share of tokens that have left at each depth

    @property
    def mean(self) -> float:
        """Return the mean depth of a token."""
        return float(self.depths @ self.shares)

    def deepest(self, tokens: Float) -> Float:
        """Return the mean depth of the deepest of so many tokens, drawn independently."""
        reached = self.left[:, None] ** np.atleast_1d(tokens)[None, :]
        chances = np.diff(reached, axis=0, prepend=0.0)
        return np.asarray(self.depths @ chances).reshape(np.shape(tokens))

    def layers(self) -> list[tuple[float, float]]:
        """Return (share of the layers, share of tokens that run them), from the first layers to the last."""
        thickness = np.diff(self.depths, prepend=0.0)
        running = 1.0 - np.concatenate(([0.0], self.left[:-1]))
        return list(zip(thickness.tolist(), running.tolist(), strict=True))


class EarlyExitTerms(WrappedTerms):
    """Terms of a model that tokens leave early; layers are taken to be alike.

    ``shrinks``: who left is out of the deeper layers, which run with a smaller batch; else a batch goes as deep as its
    deepest token. ``prompts_too``: prompts leave as well (a whole request does), else they go through all layers.
    ``fill`` gives seconds of computing keys and values of all layers for some tokens: those of layers that a token
    skips are made from its last state. ``checks``: how often the output head decides whether to leave.
    """

    def __init__(
        self,
        terms: Terms,
        depths: Depths,
        *,
        shrinks: bool,
        prompts_too: bool,
        checks: int,
        fill: Callable[[Float], Float] | None,
    ) -> None:
        super().__init__(terms, "early exit", f"mean depth {depths.mean:.2f} of the layers; layers taken to be alike")
        self._depths = depths
        self._shrinks = shrinks
        self._prompts_too = prompts_too
        self._checks = checks
        self._fill = fill

    def dense(self, tokens: Float) -> Float:
        """Return seconds of the layers that a batch of decodes runs, and of keys and values for those it skips."""
        depths = self._depths
        if not self._shrinks:
            deepest = depths.deepest(tokens)
            filled = 0.0 if self._fill is None else (1 - deepest) * self._fill(tokens)
            return np.asarray(deepest * self._terms.dense(tokens) + filled)
        seconds = np.zeros_like(tokens)
        for thickness, share in depths.layers():
            seconds += thickness * self._terms.dense(np.maximum(tokens * share, 1.0)) * np.minimum(tokens * share, 1.0)
            if self._fill is not None and share < 1:
                seconds += thickness * self._fill(tokens * (1 - share))
        return seconds

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return seconds of the layers in an iteration with prompts."""
        seconds = self._terms.dense_with_prompts(tokens)
        return seconds * self._depths.mean if self._prompts_too else seconds

    def sample(self, requests: Float) -> Float:
        """Return seconds of the head, once for the next token and once for each look whether to leave."""
        return (1 + self._checks) * self._terms.sample(requests)

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention in the layers that a batch of decodes runs."""
        if not self._shrinks:
            return np.asarray(self._depths.deepest(batch) * self._terms.decode(batch, context))
        seconds = np.zeros(np.broadcast(batch, context).shape)
        for thickness, share in self._depths.layers():
            running = batch * share
            attention = self._terms.decode(np.maximum(running, 1.0), context)
            seconds = seconds + thickness * np.minimum(running, 1.0) * attention
        return seconds

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks; see ``Terms``."""
        seconds = self._terms.prompts(chunks, tokens, requests, context, longest)
        return seconds * self._depths.mean if self._prompts_too else seconds


class SkippedLayers(WrappedTerms):
    """Terms of a model whose tokens skip a ``share`` of the layers; layers are taken to be alike.

    ``aligned``: all decoding tokens of an iteration skip the same ones, and prompts none. Else each token skips its
    own, prompts too: every layer runs, with fewer tokens that attend to fewer.
    """

    def __init__(self, terms: Terms, share: float, *, aligned: bool) -> None:
        how = "the same layers for all decodes" if aligned else "each token its own"
        super().__init__(terms, "layer skipping", f"{share:.0%} of the layers, {how}; layers taken to be alike")
        self._runs = 1.0 - share
        self._aligned = aligned

    def dense(self, tokens: Float) -> Float:
        """Return seconds of the layers that decodes run."""
        if self._aligned:
            return self._runs * self._terms.dense(tokens)
        return self._terms.dense(np.maximum(tokens * self._runs, 1.0))

    def dense_with_prompts(self, tokens: Float) -> Float:
        """Return seconds of the layers in an iteration with prompts."""
        if self._aligned:
            return self._terms.dense_with_prompts(tokens)
        return self._terms.dense_with_prompts(np.maximum(tokens * self._runs, 1.0))

    def decode(self, batch: Float, context: Float) -> Float:
        """Return seconds of attention in the layers that decodes run."""
        if self._aligned:
            return self._runs * self._terms.decode(batch, context)
        # A layer has a share of the queries, and each reads what that share of the tokens before it left there.
        return self._terms.decode(np.maximum(batch * self._runs, 1.0), context) * self._runs

    def prompts(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: float, longest: float
    ) -> float:
        """Return seconds of attention of prompt chunks; see ``Terms``."""
        seconds = self._terms.prompts(chunks, tokens, requests, context, longest)
        return seconds if self._aligned else seconds * self._runs**2
