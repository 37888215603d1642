"""The instance whose unfinished requests brought the fewest prompt tokens."""

from simulator.cluster.registry import router
from simulator.cluster.router import ByLeast


@router("least_kv")
class LeastKV(ByLeast):
    """The instance with the fewest KV tokens committed to prompts of requests sent and not ended.

    What a router knows without asking: outputs are of unknown length and count nothing.
    """

    def __init__(self) -> None:
        super().__init__(lambda request: request.prompt_tokens)
