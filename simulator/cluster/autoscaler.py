"""What decides how many instances there should be; ``autoscaling`` starts and stops them.

Apart from it so that naming a router loads nothing of instances that come and go.
"""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from simulator.core import Request

if TYPE_CHECKING:
    from simulator.cluster.fleet import Fleet


class Autoscaler(ABC):
    """Base of all policies: says how many instances there should be, whenever it is asked."""

    def start(self, fleet: "Fleet") -> None:  # noqa: B027  (a policy may need nothing)
        """See the fleet, before the first request."""

    @abstractmethod
    def wanted(self, fleet: "Fleet", now: int) -> int:
        """Return how many instances should serve or start, at a time in ps; any number, it is kept within bounds."""

    def ended(self, request: Request) -> None:  # noqa: B027
        """Hear that a request ended."""
