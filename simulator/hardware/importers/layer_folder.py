"""One folder of a layer profile: its tables, and what is known of the model."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from simulator.core import InputError
from simulator.core.yaml_source import read_yaml
from simulator.hardware.importers.base import read_json

# (hidden size, head size) of models whose meta.yaml leaves them out; from their config.json.
_SIZES = {
    "meta-llama/Llama-3.1-8B": (4096, 128),
    "Qwen/Qwen3-32B": (5120, 128),
    "Qwen/Qwen3-30B-A3B-Instruct-2507": (2048, 128),
}


class LayerShape(NamedTuple):
    """One GPU's share of a layer."""

    hidden: int
    head_dim: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int


@dataclass(frozen=True)
class LayerFolder:
    """One profiled model at one tensor parallelism; ``meta`` is what ``meta.yaml`` says."""

    path: Path
    model: str
    tensor_parallel: int
    meta: dict[str, Any]

    @property
    def library(self) -> str:
        """The engine whose kernels ran."""
        return f"vllm-{self.meta['vllm_version']}"

    @property
    def date(self) -> str:
        """The day it was measured."""
        return str(self.meta.get("profiled_at", "an unrecorded day"))[:10]

    def table(self, name: str) -> Any:
        """Return a table as a data frame, or None if there is none; InputError if it cannot be read."""
        import pandas as pd

        for path in (self.path / f"{name}.csv.gz", self.path / f"{name}.csv"):
            if path.exists():
                try:
                    return pd.read_csv(path).assign(model=self.model, tp=self.tensor_parallel)
                except (ValueError, OSError, EOFError) as error:
                    raise InputError(f"cannot be read as a table: {error}", where=str(path)) from None
        return None

    def kv_heads(self) -> int | None:
        """Return how many KV heads a GPU has, None where meta.yaml does not tell."""
        found = self._overrides().get("num_key_value_heads")
        return None if found is None else max(1, int(found) * self._most_split() // self.tensor_parallel)

    def shape(self) -> LayerShape | None:
        """Return one GPU's share of a layer, None where the model's hidden or head size is not known."""
        config = self.path.parent / "config.json"
        overrides = self._overrides()
        if config.exists():
            found = read_json(str(config))
            hidden = int(found["hidden_size"])
            head_dim = int(found.get("head_dim") or hidden // int(found["num_attention_heads"]))
        elif self.model in _SIZES:
            hidden, head_dim = _SIZES[self.model]
        else:
            return None
        names = ("num_attention_heads", "intermediate_size", "vocab_size")
        kv_heads = self.kv_heads()
        if kv_heads is None or any(name not in overrides for name in names):
            return None
        heads, ffn, vocab = (int(overrides[name]) * self._most_split() // self.tensor_parallel for name in names)
        return LayerShape(hidden, head_dim, heads, kv_heads, ffn, vocab)

    def _overrides(self) -> dict[str, Any]:
        engine = self.meta.get("engine_effective") or {}
        return engine.get("hf_overrides") or {}

    def _most_split(self) -> int:
        # The profiler ran one GPU with the share that the largest split would give it, and wrote down that share.
        return max((int(degree) for degree in self.meta.get("tp_degrees") or [1]), default=1)


def layer_folders(root: Path) -> list[LayerFolder]:
    """Return the profiled models below a folder, sorted by path; InputError if there is none."""
    folders = []
    for meta_path in sorted(root.rglob("meta.yaml")):
        source = read_yaml(meta_path)
        if missing := {"model", "vllm_version", "gpu"} - source.value.keys():
            raise InputError(f"no key '{min(missing)}'", where=source.where())
        model, splits = str(source.value["model"]), sorted(meta_path.parent.glob("tp*"))
        folders += [
            LayerFolder(path, model, int(path.name[2:]), source.value) for path in splits if path.name[2:].isdigit()
        ]
    if not folders:
        hint = "it should hold MODEL/bf16/meta.yaml and MODEL/bf16/tp1/dense.csv.gz"
        raise InputError("no layer profiles here", where=str(root), hint=hint)
    return folders
