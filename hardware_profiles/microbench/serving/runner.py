"""Runs planned iterations on a device: one copy of indices to it, then a CUDA graph's replay or the model itself."""

from typing import Any

import torch

from serving.attention import Tensor
from serving.llama import Inputs, Llama
from serving.scheduler import Work

_MOST_CAPTURED = 512


def graph_sizes(max_num_seqs: int) -> list[int]:
    """Return the numbers of decodes that graphs are captured for: vLLM's default, 1, 2, 4, by 8 to 256, then by 16."""
    sizes = [1, 2, 4, *range(8, 257, 8), *range(272, _MOST_CAPTURED + 1, 16)]
    most = min(max_num_seqs, _MOST_CAPTURED)
    return [size for size in sizes if size < most] + [next((size for size in sizes if size >= most), most)]


class TorchRunner:
    """Launches iterations in order; ``launch`` returns before a GPU has done them.

    Iterations without prompts replay a graph of the next captured size, padded; others run kernel by kernel.
    """

    def __init__(self, model: Llama) -> None:
        self.model = model
        self._on_gpu = model.device.type == "cuda"
        self._nobody = len(model.tokens) - 1
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self.replayed = 0

    def capture(self, max_num_seqs: int) -> None:
        """Capture graphs of decodes, the largest first, so that the others find its memory."""
        self._graphs.clear()
        pool = torch.cuda.graph_pool_handle()
        for size in reversed(graph_sizes(max_num_seqs)):
            static = torch.stack([torch.full((size,), self._nobody), torch.zeros(size, dtype=torch.int64)])
            static = static.to(self.model.device)
            inputs = Inputs(static[0], static[1], size, 1)
            self.model.forward(inputs)
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self.model.forward(inputs)
            self._graphs[size] = graph, static

    def try_out(self, tokens: int, requests: int) -> None:
        """Run one prompt of so many tokens over the cache's first blocks, ``requests`` of which are sampled."""
        model, row = self.model, self._nobody
        at = torch.arange(tokens, device=model.device)
        held = model.table[row].clone()
        blocks = -(-tokens // model.block_size)
        model.table[row, :blocks] = torch.arange(blocks, device=model.device)
        inputs = Inputs(torch.full_like(at, row), at, 0, 0, [(row, 0, tokens)], at[-requests:])
        model.forward(inputs)
        model.table[row] = held
        self.wait(self._ticket())

    def launch(self, work: Work) -> Any:
        """Start an iteration and return what to wait for."""
        parts = work.parts
        decoding = parts[: work.decodes]
        rows = [part.request.index for part in decoding]
        positions = [part.past for part in decoding]
        samples = list(range(work.decodes))
        chunks = []
        for request, past, new, sampling in parts[work.decodes :]:
            rows += [request.index] * new
            positions += range(past, past + new)
            chunks.append((request.index, past, new))
            samples += [len(rows) - 1] * sampling
        size = len(rows)
        graph = None if chunks else next((each for each in sorted(self._graphs) if each >= size), None)
        if graph is not None:
            rows += [self._nobody] * (graph - size)
            positions += [0] * (graph - size)
            size = graph
        sent = self._send([*rows, *positions, *samples, *(value for block in work.blocks for value in block)])
        indices, rest = sent[: 2 * size].view(2, size), sent[2 * size :]
        if work.blocks:
            where = rest[len(samples) :].view(-1, 3)
            self.model.table[where[:, 0], where[:, 1]] = where[:, 2]
        if graph is not None:
            replayed, static = self._graphs[graph]
            static.copy_(indices)
            replayed.replay()
            self.replayed += 1
        else:
            longest = 1 + max((part.past for part in decoding), default=-1)
            own = Inputs(indices[0], indices[1], work.decodes, longest, chunks, rest[: len(samples)])
            self.model.forward(own)
        return self._ticket()

    def wait(self, ticket: Any) -> None:
        """Return when an iteration is done."""
        if ticket is not None:
            ticket.synchronize()

    def _send(self, values: list[int]) -> Tensor:
        # Pinned memory is not used again before the copy is done: its allocator waits for the stream.
        host = torch.tensor(values, dtype=torch.int64, pin_memory=self._on_gpu)
        return host.to(self.model.device, non_blocking=True)

    def _ticket(self) -> Any:
        if not self._on_gpu:
            return None
        event = torch.cuda.Event()
        event.record()
        return event
