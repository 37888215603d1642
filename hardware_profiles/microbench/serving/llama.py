"""A Llama-like model with random weights in bf16, all its requests' tokens and a paged KV cache on one device."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import linear, silu

from serving.attention import Pages, Tensor, attend_decodes, attend_prompt, paged_kernel
from serving.shapes import head_dim

_EPSILON = 1e-5
_THETA = 500_000.0
_SPREAD = 0.02  # of the random weights


class Inputs(NamedTuple):
    """An iteration: a row of the token table and a position for each token; the first ``decodes`` are one a request.

    ``chunks`` are the prompts' (row, past, new) in order, ``samples`` the tokens after which another is sampled (None:
    all), ``longest`` the longest decoding context.
    """

    rows: Tensor
    positions: Tensor
    decodes: int
    longest: int
    chunks: Sequence[tuple[int, int, int]] = ()
    samples: Tensor | None = None


class Llama:
    """The model. ``tokens`` has a row a request (random: prompts are nobody's), ``table`` its KV blocks.

    The last row belongs to no request; padding and trials use it.
    """

    def __init__(
        self, shape: dict[str, Any], requests: int, longest: int, block_size: int, device: torch.device
    ) -> None:
        self.device, self.block_size, self.layers = device, block_size, shape["num_hidden_layers"]
        self.heads, self.kv_heads = shape["num_attention_heads"], shape["num_key_value_heads"]
        self.size = head_dim(shape)
        hidden, wide, words = shape["hidden_size"], shape["intermediate_size"], shape["vocab_size"]
        all_heads = (self.heads + 2 * self.kv_heads) * self.size

        def random(*of: int) -> Tensor:
            return torch.empty(of, device=device, dtype=torch.bfloat16).normal_(0, _SPREAD)

        self.embedding = random(words, hidden)
        self.head = self.embedding if shape.get("tie_word_embeddings") else random(words, hidden)
        # As vLLM has them: query, key and value are one product, gate and up another.
        self.qkv = [random(all_heads, hidden) for _ in range(self.layers)]
        self.out = [random(hidden, self.heads * self.size) for _ in range(self.layers)]
        self.gate_up = [random(2 * wide, hidden) for _ in range(self.layers)]
        self.down = [random(hidden, wide) for _ in range(self.layers)]
        self.gain = torch.ones(hidden, device=device, dtype=torch.bfloat16)
        power = torch.arange(0, self.size, 2, device=device) / self.size
        angle = torch.arange(longest + 1, device=device)[:, None] / _THETA**power
        self.turns = torch.stack([angle.cos(), angle.sin()], 1).bfloat16()
        self.tokens = torch.randint(words, (requests + 1, longest + 1), device=device, dtype=torch.int32)
        self.table = torch.zeros(requests + 1, -(-longest // block_size) + 1, device=device, dtype=torch.int64)
        self.cache: list[Tensor] = []
        # Between attentions the model is compiled on a GPU, which fuses its small operators, as vLLM does.
        self._before: Callable[..., tuple[Tensor, Tensor]] = _before_attention
        self._after: Callable[..., tuple[Tensor, Tensor]] = _after_attention
        self._decode: Callable[[Tensor, Tensor, Pages], Tensor] = attend_decodes
        if device.type == "cuda":
            self._before = torch.compile(_before_attention)
            self._after = torch.compile(_after_attention)
            self._decode = paged_kernel(torch.cuda.get_device_properties(device).multi_processor_count)

    def allocate(self, blocks: int) -> None:
        """Make a KV cache of so many blocks in place of any before it."""
        shape = (blocks * self.block_size, 2 * self.kv_heads, self.size)
        self.cache = []
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.cache = [torch.zeros(shape, device=self.device, dtype=torch.bfloat16) for _ in range(self.layers)]

    @torch.inference_mode()
    def forward(self, inputs: Inputs) -> Tensor:
        """Run an iteration: fill the cache, sample the likeliest tokens into ``tokens``, and return their logits."""
        rows, positions = inputs.rows, inputs.positions
        size = self.block_size
        slots = self.table[rows, positions // size] * size + positions % size
        decoding = rows[: inputs.decodes]
        pages = Pages(self.table, decoding, positions[: inputs.decodes] + 1, inputs.longest, size)
        blocks = [self.table[row, : -(-(past + new) // size)] for row, past, new in inputs.chunks]
        turns = self.turns[positions]
        x = self.embedding[self.tokens[rows, positions].long()]
        residual = torch.zeros_like(x)
        for layer in range(self.layers):
            qkv, residual = self._before(x, residual, self.gain, self.qkv[layer], turns, self.heads, self.kv_heads)
            self.cache[layer].index_copy_(0, slots, qkv[:, self.heads :])
            found = self._attend(qkv[:, : self.heads], layer, pages, inputs, blocks)
            weights = self.out[layer], self.gain, self.gate_up[layer], self.down[layer]
            x, residual = self._after(found, residual, *weights)
        if inputs.samples is not None:
            x, residual = x[inputs.samples], residual[inputs.samples]
            rows, positions = rows[inputs.samples], positions[inputs.samples]
        logits = linear(_add_norm(x, residual, self.gain)[0], self.head).float()
        self.tokens[rows, positions + 1] = logits.argmax(-1).int()
        return logits

    def _attend(self, q: Tensor, layer: int, pages: Pages, inputs: Inputs, blocks: Sequence[Tensor]) -> Tensor:
        cache, at = self.cache[layer], inputs.decodes
        found = [self._decode(q[:at], cache, pages)] if at else []
        for (_, past, new), own in zip(inputs.chunks, blocks, strict=True):
            found.append(attend_prompt(q[at : at + new], cache, own, past, self.block_size))
            at += new
        return (found[0] if len(found) == 1 else torch.cat(found)).reshape(len(q), -1)


def _add_norm(x: Tensor, residual: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    total = x + residual
    wide = total.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + _EPSILON)).to(x.dtype) * gain, total


def _before_attention(
    x: Tensor, residual: Tensor, gain: Tensor, qkv: Tensor, turns: Tensor, heads: int, kv_heads: int
) -> tuple[Tensor, Tensor]:
    """Return query, key and value heads, the first two turned by their positions (rotary), and the residual."""
    x, residual = _add_norm(x, residual, gain)
    every = linear(x, qkv).view(len(x), heads + 2 * kv_heads, -1)
    low, high = every[:, : heads + kv_heads].chunk(2, -1)
    c, s = turns[:, None, 0], turns[:, None, 1]
    every[:, : heads + kv_heads] = torch.cat([low * c - high * s, high * c + low * s], -1)
    return every, residual


def _after_attention(
    found: Tensor, residual: Tensor, out: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor]:
    x, residual = _add_norm(linear(found, out), residual, gain)
    gate, up = linear(x, gate_up).chunk(2, -1)
    return linear(silu(gate) * up, down), residual
