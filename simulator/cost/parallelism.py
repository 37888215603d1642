"""How an instance spreads a model over GPUs."""

from typing import NamedTuple


class Parallelism(NamedTuple):
    """Numbers of GPUs: ``tensor`` split each layer, ``pipeline`` hold some layers each, ``expert`` hold whole experts.

    ``expert`` GPUs are among the ``tensor`` ones, not beside them; 1 splits each expert's columns instead.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1

    @property
    def gpus(self) -> int:
        """GPUs of one instance."""
        return self.tensor * self.pipeline
