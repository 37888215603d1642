"""The share of a model's weights that its MLPs hold: a survey's figures, how they come about, and what it is."""

from typing import NamedTuple

from simulator.model import Attention, Mlp, Transformer, load_model


class FfnShare(NamedTuple):
    """Shares of MLP weights: as ``published``, by what ``repeats`` that figure, of all weights, and of the layers'."""

    model: str
    published: float
    repeats: float
    weights: float
    layers: float


# Zhou et al., arXiv 2404.14294, of LLaMA 7B and 70B; the shapes of Llama 2, which has both sizes.
_PUBLISHED = {"llama-2-7b": 0.6301, "llama-2-70b": 0.7169}


def ffn_shares() -> list[FfnShare]:
    """Return the published shares beside ours."""
    return [_share(load_model(name), published) for name, published in _PUBLISHED.items()]


def _share(model: Transformer, published: float) -> FfnShare:
    mlp = sum(kind.count * _mlp_weights(kind.mlp, model.hidden) for kind in model.kinds)
    layers = model.parameters - model.vocab * model.hidden * (1 if model.tied else 2)
    return FfnShare(model.name, published, _as_published(model, mlp), mlp / model.parameters, mlp / layers)


def _as_published(model: Transformer, mlp: int) -> float:
    """Return the share as the survey's figures come out: a KV head for each head, and the vocabulary three times."""
    attention = model.kinds[0].attention
    assert isinstance(attention, Attention)
    square = 4 * model.hidden * attention.heads * attention.head_dim * model.layers
    return mlp / (mlp + square + 3 * model.vocab * model.hidden)


def _mlp_weights(mlp: object, hidden: int) -> int:
    assert isinstance(mlp, Mlp)
    return (3 if mlp.gated else 2) * hidden * mlp.ffn
