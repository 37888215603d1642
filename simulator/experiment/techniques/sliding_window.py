"""Attention to the last tokens only, and to the first few: sliding windows and attention sinks."""

from typing import Annotated

from pydantic import Field

from simulator.cost.kv_memory import Held
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.experiment.techniques.windows import kept_share, with_window
from simulator.model import Transformer


@technique("sliding_window")
class SlidingWindow(Technique):
    """A ``share`` of the layers sees the last ``window`` tokens and the first ``sinks``.

    With ``evict``, KV out of sight is freed: the blocks that fit grow by what requests of the workload's lengths keep,
    on average. Without, it stays, and only reads and prompt attention shrink. KV that travels between instances is
    counted whole.
    """

    level = "model"
    source = "Mistral 7B, arXiv 2310.06825 (window); StreamingLLM, arXiv 2309.17453 (sinks)"
    changes = "attention over min(context, window + sinks) tokens: decodes, prompts, and the KV that is kept"
    exclusive = "tokens that attention sees"

    def __init__(
        self,
        *,
        window: Annotated[int, Field(ge=1)] = 1024,
        sinks: Annotated[int, Field(ge=0)] = 4,
        share: Annotated[float, Field(gt=0, le=1)] = 1.0,
        evict: bool = True,
    ) -> None:
        self._seen = window + sinks
        self._share = share
        self._evict = evict

    def model(self, model: Transformer) -> Transformer:
        """Return the model with the window; InputError where it has latent attention."""
        return with_window(model, self._seen, self._share)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return what a token keeps on average, where KV out of sight is freed."""
        return held._replace(token=held.token * kept_share(parts.model, parts.workload)) if self._evict else held
