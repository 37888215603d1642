"""What techniques that shorten prompts share: a small model may read each prompt first, and costs what it costs."""

from abc import ABC, abstractmethod
from typing import Literal

import numpy as np

from simulator.cost.base import CostModel
from simulator.cost.kv_memory import Held
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Parts, Technique
from simulator.experiment.techniques.beside import ReadBefore, cost_alone, reader_model, seconds_alone
from simulator.model import Transformer
from simulator.workload.table import Int, Workload
from simulator.workload.transforms import map_prompts, with_lead

Place = Literal["same", "own"]


class Shortened(Technique, ABC):
    """Prompts of n tokens become ``kept(n)``, after ``reader`` (a model's name, or None) read them.

    On ``same`` GPUs the reader takes time of the instances' iterations and its weights take memory, on its ``own`` GPU
    it delays each request by the time it needs alone.
    """

    level = "data"

    def __init__(self, reader: str | None, place: Place) -> None:
        self._reader = reader
        self._place = place

    @abstractmethod
    def kept(self, tokens: Int) -> Int:
        """Return how many tokens are left of prompts, or of their shared beginnings; must not fall."""

    @abstractmethod
    def original(self, tokens: int) -> int:
        """Return how many tokens of the original so many of the prompt stand for."""

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the requests with shorter prompts, after what a reader on its own GPU takes."""
        short = map_prompts(workload, self.kept)
        if self._reader is None or self._place == "same":
            return short
        prompts = workload.prompt_tokens
        return with_lead(short, seconds_alone(cost_alone(self._reader, config), prompts, np.zeros_like(prompts)))

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return the memory with a reader's weights in it, where it shares the GPUs."""
        if not self._shares(parts):
            return held
        weights = self._model(parts).weight_bytes(parts.parallel.tensor, 1, parts.parallel.pipeline)
        return held._replace(weights=held.weights + weights)

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return iterations in which the reader reads first, where it shares the GPUs."""
        if not self._shares(parts):
            return cost
        note = f"{self._reader} reads each prompt before it is shortened, on the same GPUs"
        return ReadBefore(cost, parts.cost_of(self._model(parts)), self.original, note)

    def _shares(self, parts: Parts) -> bool:
        return self._reader is not None and self._place == "same" and parts.spec.role != "decode"

    def _model(self, parts: Parts) -> Transformer:
        assert self._reader is not None
        return reader_model(self._reader, parts.model)
