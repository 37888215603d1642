"""Run by the tests in a Python that has PyTorch: prints, as JSON, how far the paged engine is from plain arithmetic.

``engine``: served with chunks, preemptions and batches, by how much less likely a sampled token is than the likeliest
one of a dense reference in single precision, in standard deviations of that position's logits: the largest. ``wrong``
is the same for other requests' tokens, so that the reader knows what a mistake looks like. ``kernel``: the largest
difference of the Triton kernel (interpreted) and a softmax in double; None without a Triton that can interpret it.
"""

import json
import os
import sys
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"
sys.path.insert(0, str(Path(__file__).parents[2] / "hardware_profiles/microbench"))

import numpy
import torch
from serving.attention import Pages, paged_kernel
from serving.llama import Llama
from serving.loop import Clock, serve
from serving.runner import TorchRunner
from serving.scheduler import Scheduler, Served
from torch.nn.functional import linear, silu

SHAPE = {"hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 64}  # fmt: skip


class Count:
    """Counts what it hears."""

    def __init__(self):
        self.preemptions = self.mixed = 0

    def iteration(self, work, start, end, scheduler):
        self.mixed += 0 < work.decodes < len(work.parts)

    def finished(self, request):
        self.preemptions += request.preemptions


def reference(model, tokens):
    """Return the logits of every position of a sequence, all at once and without a cache."""

    def norm(x):
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)

    x = model.embedding.float()[tokens.long()]
    turns = model.turns[: len(tokens)].float()
    cos, sin = turns[:, None, 0], turns[:, None, 1]
    mask = torch.full((len(tokens), len(tokens)), float("-inf")).triu(1)
    for layer in range(model.layers):
        q, k, v = (
            linear(norm(x), model.qkv[layer].float())
            .view(len(x), -1, model.size)
            .split([model.heads, model.kv_heads, model.kv_heads], 1)
        )
        q, k = (
            torch.cat([half[0] * cos - half[1] * sin, half[1] * cos + half[0] * sin], -1)
            for half in (q.chunk(2, -1), k.chunk(2, -1))
        )
        k, v = (each.repeat_interleave(model.heads // model.kv_heads, 1) for each in (k, v))
        share = torch.softmax(torch.einsum("qhd,khd->hqk", q, k) * model.size**-0.5 + mask, -1)
        x = x + linear(torch.einsum("hqk,khd->qhd", share, v).flatten(1), model.out[layer].float())
        gate, up = linear(norm(x), model.gate_up[layer].float()).chunk(2, -1)
        x = x + linear(silu(gate) * up, model.down[layer].float())
    return linear(norm(x), model.head.float())


def engine(depth):
    torch.manual_seed(depth)
    requests = [Served(index, 0.0, prompt, output) for index, (prompt, output) in enumerate(
        [(1, 9), (30, 12), (75, 5), (9, 40), (40, 1), (16, 33)]
    )]  # fmt: skip
    lengths = [(each.prompt, each.prompt + each.output) for each in requests]
    model = Llama(SHAPE, len(requests), 80, 4, torch.device("cpu"))
    # Weights so large that what was read before matters for what comes next.
    for weights in (model.qkv, model.out, model.gate_up, model.down, [model.head, model.embedding]):
        for each in weights:
            each.mul_(8)
    model.allocate(34)
    count = Count()
    scheduler = Scheduler(blocks=34, block_size=4, max_num_seqs=4, max_num_batched_tokens=24)
    serve(requests, scheduler, TorchRunner(model), Clock(), count, depth=depth)
    assert count.preemptions > 0 and count.mixed > 0
    far, wrong = [], []
    for index, (prompt, length) in enumerate(lengths):
        tokens = model.tokens[index, :length]
        logits = reference(model, tokens)[prompt - 1 : length - 1]
        other = model.tokens[(index + 1) % len(lengths), : length - prompt].long()
        scale = logits.std(-1)
        far.append(((logits.max(-1).values - logits.gather(1, tokens[prompt:, None].long())[:, 0]) / scale).max())
        wrong.append(((logits.max(-1).values - logits.gather(1, other[:, None])[:, 0]) / scale).median())
    return float(max(far)), float(min(wrong))


def kernel():
    try:
        attend = paged_kernel(multiprocessors=9)
        int(numpy.ones(1))
    except (ImportError, TypeError):
        # Triton's interpreter makes numbers of arrays with one element, which NumPy 2.4 no longer does.
        return None
    torch.manual_seed(1)
    worst = 0.0
    for heads, kv_heads, size, block in ((8, 2, 64, 16), (4, 4, 32, 8), (6, 1, 64, 64)):
        lengths = torch.tensor([1, 63, 64, 65, 200])
        table = torch.randperm(len(lengths) * 40)[: (len(lengths) + 1) * 30].view(-1, 30) + 1
        cache = torch.randn((1 + int(table.max())) * block, 2 * kv_heads, size)
        rows = torch.tensor([3, 0, 5, 1, 2])
        q = torch.randn(len(rows), heads + 2, size)[:, :heads]
        found = attend(q, cache, Pages(table, rows, lengths, 200, block))
        for at, (row, length) in enumerate(zip(rows, lengths, strict=True)):
            slots = torch.tensor([int(table[row, i // block]) * block + i % block for i in range(int(length))])
            both = cache[slots].double().repeat_interleave(heads // kv_heads, 1)
            k, v = both[:, :heads], both[:, heads:]
            share = torch.softmax(torch.einsum("hd,khd->hk", q[at].double(), k) * size**-0.5, -1)
            wanted = torch.einsum("hk,khd->hd", share, v)
            worst = max(worst, float((found[at] - wanted).abs().max()))
    return worst


if __name__ == "__main__":
    runs = [engine(depth) for depth in (1, 2)]
    found = {"engine": max(run[0] for run in runs), "wrong": min(run[1] for run in runs), "kernel": kernel()}
    sys.stdout.write(json.dumps(found) + "\n")
