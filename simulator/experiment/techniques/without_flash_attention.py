"""What FlashAttention saves: attention that writes its scores to memory."""

from simulator.core import InputError
from simulator.cost.terms import Terms
from simulator.cost.unfused_attention import UnfusedAttention
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.registry import technique


@technique("without_flash_attention")
class WithoutFlashAttention(Technique):
    """Attention as separate kernels: scores of all queries and keys go to the GPU's memory and back, four times in all.

    Measured tables are of fused kernels; the traffic that fusing avoids is added at the profile's elementwise
    bandwidth. The memory that scores need is not taken from the KV cache.
    """

    level = "engine"
    source = "Dao et al., FlashAttention, arXiv 2205.14135, section 2.2 (standard attention)"
    changes = "bytes that attention moves: 8 for each head, query and key, beside those of keys and values"
    exclusive = "attention kernel"

    def terms(self, terms: Terms, parts: Parts) -> Terms:
        """Return the terms with the traffic of scores added."""
        split = parts.parallel.tensor
        heads = sum(kind.count * kind.attention.heads // split for kind in parts.model.kinds)
        if not heads:
            raise InputError(f"{parts.model.name} has no attention heads")
        return UnfusedAttention(terms, heads, parts.profile.elementwise.bandwidth)
