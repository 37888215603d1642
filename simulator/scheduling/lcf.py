"""Least counter first: fair queueing that lets clients save up service."""

from simulator.scheduling.client_accounts import Account
from simulator.scheduling.registry import scheduler
from simulator.scheduling.vtc import VTC


@scheduler("lcf")
class LCF(VTC):
    """``vtc`` without the lift: who stayed away comes back with a low counter, and is served alone until it is level.

    Parameters are those of ``vtc``.
    """

    source = "Sheng et al., Fairness in Serving Large Language Models, OSDI 2024 (the baseline LCF)"
    starves = True  # clients that were never seen before always go first

    def lift(self, account: Account) -> None:
        """Leave the counter as it is."""
