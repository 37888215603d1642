"""One instance more while requests wait, one less when none does."""

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.fleet import Fleet, State
from simulator.cluster.registry import autoscaler
from simulator.core import InputError


@autoscaler("queue")
class Queue(Autoscaler):
    """One more where over ``most_waiting`` requests wait for each instance that serves; one less where none waits."""

    def __init__(self, *, most_waiting: float = 1.0) -> None:
        if most_waiting < 0:
            raise InputError(f"most_waiting is {most_waiting}", hint="0 or more")
        self.most_waiting = most_waiting

    def wanted(self, fleet: Fleet, now: int) -> int:
        """Return one more, one less, or as many as there are."""
        serving = len(fleet.those(State.SERVING))
        coming = len(fleet.those(State.STARTING, State.FAILING, State.RESTARTING))
        waiting = fleet.waiting()
        if waiting > self.most_waiting * serving:
            # Those that start were asked for by the same queue.
            return serving + max(coming, 1)
        return serving + coming - (waiting == 0)
