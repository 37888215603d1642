"""KV blocks of finished prompts kept for those that begin alike."""

from typing import Annotated

from pydantic import Field

from simulator.core import InputError
from simulator.experiment.schema import InstanceSpec
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique


@technique("prefix_caching")
class PrefixCaching(Technique):
    """Instances keep finished prompts' KV blocks, longest unused ones given away first; ``on: false`` keeps none.

    It matters where prompts begin alike: traces with prefixes, ``workload.prefix`` of groups or of conversations with
    their think times. ``blocks`` sets how many KV blocks an instance has, cache and running requests together.
    """

    level = "engine"
    source = "vLLM, automatic prefix caching; SGLang, arXiv 2312.07104"
    changes = "prompt tokens found in the cache are not computed"
    exclusive = "prefix cache"

    def __init__(self, *, on: bool = True, blocks: Annotated[int, Field(ge=1)] | None = None) -> None:
        self._on = on
        self._blocks = blocks

    def instance(self, spec: InstanceSpec) -> InstanceSpec:
        """Return the instance with the cache as asked; InputError if its YAML sets another number of blocks."""
        if self._blocks is None:
            return spec.model_copy(update={"prefix_caching": self._on})
        if spec.kv_blocks not in ("auto", self._blocks):
            raise InputError(
                f"{self._blocks} blocks for an instance with kv_blocks {spec.kv_blocks}", hint="keep one of them"
            )
        return spec.model_copy(update={"prefix_caching": self._on, "kv_blocks": self._blocks})
