"""Measured times of whole batches: an iteration's prompts take what one prompt with all their tokens would."""

from simulator.cost.published_fit import Pieces, TableFit


class BatchTable(TableFit):
    """A table read by the tokens of an iteration: its prompts (and decodes beside them) count as one prompt."""

    def prefill(self, pieces: Pieces, more: int) -> float:
        """Return seconds of prompts with so many tokens in all."""
        return self.scale.prefill * self.prefill_table.at(sum(new for _, new in pieces) + more)
