"""Speculative decoding: a draft proposes tokens, the model verifies them together, those before the first wrong stay.

Source: Leviathan et al., Fast Inference from Transformers via Speculative Decoding, arXiv 2211.17192, sections 2 and 3.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Any, NamedTuple, Protocol

from simulator.core import Request
from simulator.cost.base import CostModel, Decodes
from simulator.cost.tabulated import Alike, TabulatedCost
from simulator.cost.terms import Seen


def expected_tokens(acceptance: Sequence[float]) -> float:
    """Return the tokens that a step makes on average: the accepted ones, and one by the model itself.

    ``acceptance[i]``: probability that draft token i is accepted if those before it are. For g equal rates a this is
    (1 - a^(g+1)) / (1 - a).
    """
    return 1.0 + float(sum(accumulate(acceptance, mul)))


class Draft(Protocol):
    """What proposes tokens, in picoseconds."""

    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time to propose all tokens of a step for ``requests`` over ``context`` KV tokens."""
        ...

    def prompt_ps(self, chunks: Sequence[tuple[Request, int]], tokens: int) -> float:
        """Return the time it takes the draft to read prompt chunks."""
        ...


class Step(NamedTuple):
    """A step of speculation: tokens ``verified`` for each request, and tokens that it makes on average (``gained``)."""

    verified: int
    gained: float


class SpeculativeCost(TabulatedCost):
    """Iterations of an engine that speculates, spread evenly over the tokens that a step makes.

    To the engine an iteration makes one token for each request; a step makes ``step.gained``, so an iteration that only
    decodes takes that share of a step: the draft, and the model over ``requests * step.verified`` tokens that read each
    context once. A prompt's chunk adds what it makes a step longer. Means and throughput are so those of steps, gaps
    between tokens are averages over a step. ``cost`` is the model's, with the host's time for each request divided by
    ``step.verified`` (as many tokens as it is asked about); ``sequence_ps`` is that time undivided.
    """

    def __init__(self, cost: CostModel, draft: Draft, step: Step, sequence_ps: float, note: str) -> None:
        self._draft = draft
        self._step = step
        self._chunk_ps = sequence_ps * (1 - 1 / step.verified)
        super().__init__(cost, note)

    def step_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time of a whole step without prompts: the draft's and the verification."""
        verified = self._step.verified
        tokens = requests * verified
        # Rows of one request share its context: together they read it once, with the tokens proposed.
        read = context + requests * (verified - 1)
        verify = self._cost.decode_run(tokens, read, Alike(max(longest // verified, -(-read // tokens))))[0]
        return verify + self._draft.decode_ps(requests, context, longest)

    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time of an iteration: a step's over the tokens that it makes."""
        return self.step_ps(requests, context, longest) / self._step.gained

    def mixed(
        self, chunks: Sequence[tuple[Request, int]], tokens: int, requests: int, context: int, decodes: Decodes
    ) -> int:
        """Return the duration of an iteration with prompt chunks; see ``CostModel``."""
        prompts = self._draft.prompt_ps(chunks, tokens) + len(chunks) * self._chunk_ps
        if not requests:
            return round(self._cost.mixed(chunks, tokens, 0, 0, decodes) + prompts)
        verified = self._step.verified
        longest = decodes.longest if self._skewed(requests) else -(-context // requests)
        read = context + requests * (verified - 1)
        rows = requests * verified
        alike = Alike(max(longest // verified, -(-read // rows)))
        step = self.step_ps(requests, context, longest)
        together = self._cost.mixed(chunks, tokens, rows, read, alike) + prompts
        alone = step - self._draft.decode_ps(requests, context, longest)
        return round(max(together - alone, 1.0) + step / self._step.gained)

    def coverage(self, seen: Seen | None = None) -> dict[str, Any]:
        """Return what the times rest on, over the tokens that are verified."""
        if seen is not None:
            rows = (seen.tokens * self._step.verified, seen.requests * self._step.verified)
            seen = Seen(*rows, seen.context)
        return super().coverage(seen)


class ModelDraft:
    """A draft that is a model of its own: ``passes`` one after the other, for ``width`` tokens a request each.

    ``cost`` is the draft's on the same GPUs, without the host's share, which a step has once. ``extra`` are matrix
    products that each pass has beside the model's own.
    """

    def __init__(self, cost: CostModel, passes: int, width: int = 1, extra: "Heads | None" = None) -> None:
        self._cost = cost
        self._passes = passes
        self._width = width
        self._extra = extra

    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time to propose all tokens of a step."""
        rows = requests * self._width
        read = max(context, rows)
        alike = Alike(max(longest // self._width, -(-read // rows)))
        once = self._cost.decode_run(rows, read, alike)[0]
        return self._passes * (once + (self._extra.ps(rows) if self._extra else 0.0))

    def prompt_ps(self, chunks: Sequence[tuple[Request, int]], tokens: int) -> float:
        """Return the time that the draft takes over the same prompt chunks."""
        return self._cost.mixed(chunks, tokens, 0, 0, Alike(1)) + (self._extra.ps(tokens) if self._extra else 0.0)


class Heads(Protocol):
    """Matrix products on hidden states."""

    def ps(self, tokens: int) -> float:
        """Return the time of all of them for so many tokens."""
        ...


class HeadsDraft:
    """A draft of heads on the model's last hidden states (Medusa): all at once, and nothing to do for a prompt."""

    def __init__(self, heads: Heads) -> None:
        self._heads = heads

    def decode_ps(self, requests: int, context: int, longest: int) -> float:
        """Return the time of the heads."""
        return self._heads.ps(requests)

    def prompt_ps(self, chunks: Sequence[tuple[Request, int]], tokens: int) -> float:
        """Return the time of the heads at a prompt's last token, within the step that has it."""
        return self._heads.ps(len(chunks))
