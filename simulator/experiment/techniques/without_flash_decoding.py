"""What Flash-Decoding saves: decode attention that leaves most of the GPU idle at small batches."""

from simulator.core import InputError
from simulator.cost.terms import Terms
from simulator.cost.unfused_attention import UnsplitDecodes
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Attention


@technique("without_flash_decoding")
class WithoutFlashDecoding(Technique):
    """Decode attention with one thread block for each request and KV head, however long the context.

    A batch keeps ``min(1, requests * KV heads / multiprocessors)`` of the GPU busy, and attention takes as much longer;
    measured tables are of kernels that split contexts.
    """

    level = "engine"
    source = "Dao et al., Flash-Decoding for long-context inference, PyTorch blog, 2023-10-13"
    changes = "decode attention's bandwidth at small batches: the share of multiprocessors that have work"
    exclusive = "decode attention kernel"

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with decode attention at that occupancy."""
        model, sms = parts.model, parts.profile.sms
        if sms is None:
            raise InputError(f"the profile of {parts.profile.name} does not say how many multiprocessors it has (sms)")
        heads = 0
        for kind in model.kinds:
            if not isinstance(kind.attention, Attention):
                raise InputError(
                    f"{model.name} has latent attention, which is not split by KV heads", hint="a model with KV heads"
                )
            heads += kind.count * kind.attention.kv_heads_each(parts.parallel.tensor)
        return UnsplitDecodes(terms, heads / model.layers, sms)
