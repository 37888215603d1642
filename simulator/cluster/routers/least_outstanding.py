"""The instance with the fewest unfinished requests."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast


@router("least_outstanding")
class LeastOutstanding(ByLeast):
    """The instance with the fewest requests sent and not ended; ties go to the one chosen longest ago."""

    def __init__(self) -> None:
        super().__init__(lambda request: 1)
