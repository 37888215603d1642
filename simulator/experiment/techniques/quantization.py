"""Weights in fewer bits, and multiplied so where the format's products are: W8A8, FP8, W4A16."""

from typing import Literal

from simulator.core import InputError
from simulator.experiment.schema import InstanceSpec
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.model import Transformer

_NAMES = {"w8a8": "int8", "fp8": "fp8", "w4a16": "w4a16"}


@technique("quantization")
class Quantization(Technique):
    """Weights of attention and MLPs in ``format``; embedding and head stay as they are.

    ``w8a8`` (SmoothQuant, arXiv 2211.10438) and ``fp8`` multiply in 8 bit, ``w4a16`` (AWQ, arXiv 2306.00978) has 4-bit
    weights in groups of 128 and multiplies in 16 bit. Times are the GPU's measured ones where its tables have the
    format, else its roofline.
    """

    level = "model"
    source = "SmoothQuant arXiv 2211.10438; AWQ arXiv 2306.00978; times: the GPU profile's tables"
    changes = "bytes of weights, FLOP/s of matrix products (not for w4a16), KV blocks that fit"
    exclusive = "format of the weights"

    def __init__(self, *, format: Literal["w8a8", "fp8", "w4a16"] = "fp8") -> None:
        self._format = format

    def model(self, model: Transformer) -> Transformer:
        """Return the model as it is; InputError if its checkpoint is quantized already."""
        precision = model.precision
        parts = (precision.linear, precision.experts, precision.attention, precision.attention_output, precision.shared)
        own = next((each for each in parts if each != "bfloat16"), None)
        if own is not None:
            raise InputError(
                f"weights quantized twice: {self._format}, and {model.name} is a checkpoint in {own} already",
                hint="leave the technique out, or name the model that is not quantized",
            )
        return model

    def instance(self, spec: InstanceSpec) -> InstanceSpec:
        """Return the instance with ``quantization`` set; InputError if its YAML sets one."""
        if spec.quantization is not None:
            raise InputError(
                f"weights quantized twice: {self._format}, and the instance's own quantization {spec.quantization}",
                hint="keep one of them",
            )
        return spec.model_copy(update={"quantization": _NAMES[self._format]})
