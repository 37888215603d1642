"""Another, smaller model in place of the experiment's: distilled, searched for, or just the next size."""

from simulator.core import InputError
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Transformer, load_model


@technique("smaller_model")
class SmallerModel(Technique):
    """Requests are served by ``model`` (a known name or a config.json), with outputs as long as before."""

    level = "model"
    source = "Llama 3.2 model card: 1B and 3B pruned from Llama 3.1 8B and distilled from 8B and 70B"
    changes = "the model: weights, FLOPs, KV"
    exclusive = "size of the model"

    def __init__(self, *, model: str = "llama-3.2-3b") -> None:
        self._model = load_model(model)

    def model(self, model: Transformer) -> Transformer:
        """Return the other model; InputError if it is no smaller."""
        if self._model.active_parameters >= model.active_parameters:
            raise InputError(
                f"{self._model.name} is no smaller than {model.name}", hint="name a smaller one (tokenyard models)"
            )
        return self._model
