"""Speculative decoding with a smaller model as draft."""

from simulator.core import InputError
from simulator.cost.kv_memory import Held
from simulator.cost.speculative import ModelDraft
from simulator.experiment.techniques.base import Parts
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.speculation import Acceptance, Speculation, Tokens, without_host
from simulator.model import Transformer, load_model


@technique("speculative")
class Speculative(Speculation):
    """A model ``draft`` proposes ``tokens``, one after the other, and the model keeps those before the first wrong.

    ``acceptance`` is a rate, or a list of rates by position, of tokens whose predecessors were accepted.
    """

    source = "Leviathan et al., arXiv 2211.17192: expected tokens a step, equation 1"
    changes = "iterations cost a share of a step that drafts and verifies; memory for the draft and its KV"

    def __init__(self, *, draft: str, acceptance: Acceptance, tokens: Tokens = 4) -> None:
        super().__init__(acceptance, tokens)
        self._tokens = tokens
        self._model = load_model(draft)

    def draft(self, parts: Parts) -> ModelDraft:
        """Return the draft model: a pass for each token."""
        return ModelDraft(without_host(parts).cost_of(self._fitting(parts)), self._tokens)

    def held(self, parts: Parts) -> Held:
        """Return the draft's weights and KV."""
        return Held.of(self._fitting(parts), without_host(parts).parallel)

    def _fitting(self, parts: Parts) -> Transformer:
        if self._model.active_parameters >= parts.model.active_parameters:
            raise InputError(
                f"the draft {self._model.name} is no smaller than {parts.model.name}", hint="a smaller draft"
            )
        if self._model.vocab != parts.model.vocab:
            raise InputError(
                f"the draft {self._model.name} has {self._model.vocab} tokens, {parts.model.name} {parts.model.vocab}",
                hint="a draft with the same vocabulary",
            )
        return self._model
