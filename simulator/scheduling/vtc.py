"""Virtual Token Counter: whoever was served least goes next, and nobody saves up service by staying away."""

from math import ceil, floor
from typing import Literal

from simulator.core import InputError, Request
from simulator.engine.scheduler import FOREVER, Plan
from simulator.scheduling.client_accounts import Account, ClientQueues
from simulator.scheduling.registry import scheduler
from simulator.scheduling.slora import PeakBatches


@scheduler("vtc")
class VTC(PeakBatches):
    """``slora`` in an order that is fair to clients: the next is of the client with the smallest counter of service.

    A counter grows by ``prompt_price`` for each prompt token of a request when it starts and by ``output_price`` for
    each token made, divided by the client's weight. A client that comes back with nothing waiting begins no lower
    than the lowest of those that wait. Who is next and finds no memory is waited for.
    ``outputs``: charged when ``made``; or in advance when the request starts, by a moving average of the client's
    (``predicted``, VTC-predict) or by what it will make (``known``, VTC-oracle), and corrected at the end.
    ``weights``: of the clients in the order of their index (the order in which the workload names them); those beyond
    the list have 1. Other parameters are those of ``slora``.
    """

    source = "Sheng et al., Fairness in Serving Large Language Models, OSDI 2024, Algorithms 2 and 3; its artifact"

    def __init__(
        self,
        *,
        outputs: Literal["made", "predicted", "known"] = "made",
        weights: list[float] | None = None,
        prompt_price: float = 1.0,
        output_price: float = 2.0,
        max_num_seqs: int = 1000,
        max_num_batched_tokens: int = 8192,
        wait: int = 10,
    ) -> None:
        super().__init__(max_num_seqs, max_num_batched_tokens, wait)
        if weights is not None and not all(0 < weight < float("inf") for weight in weights):
            raise InputError(f"weights are {weights}", hint="positive numbers")
        for name, price in (("prompt_price", prompt_price), ("output_price", output_price)):
            if not 0 <= price < float("inf"):
                raise InputError(f"{name} is {price}", hint="0 or more")
        self.outputs = outputs
        self.weights = weights or []
        self.prices = prompt_price, output_price
        self.queue: ClientQueues = ClientQueues()
        self._accounts: dict[int, Account] = {}
        self._last_left: Account | None = None  # of the client whose request was last taken from the queue
        self._next: int | None = None  # the client whose turn it is
        self._counters: dict[int, float] = {}  # of this decision, as far as they were asked for

    def add(self, request: Request) -> None:
        """Queue a request; it counts from when prompts are looked for."""
        self.queue.arrived.append(request)

    def finished(self, request: Request) -> None:
        """Drop a request that made its last token, and correct what it was charged."""
        super().finished(request)
        self._account(request.client).finish(request)

    def plan(self) -> Plan:
        """Compute the prompts that may start, alone; else let everyone decode."""
        self._counters.clear()
        return super().plan()

    def head(self) -> Request | None:
        """Return the oldest request of the client with the smallest counter, ties by index."""
        queue = self.queue
        if queue.arrived:
            self._take_in()
        waiting = queue.waiting
        if not waiting:
            return None
        if len(waiting) == 1:
            (self._next,) = waiting
        else:
            self._next = min(waiting, key=lambda client: (self._counter(client), client))
        return waiting[self._next].waiting[0]

    def take(self, request: Request) -> None:
        """Take the head from its queue, and charge it."""
        account = self._accounts[request.client]
        predicted = {"made": 0.0, "predicted": account.predicted, "known": float(request.output_tokens)}
        account.start(request, predicted[self.outputs])
        self._counters.pop(request.client, None)
        self.queue.pop(request.client)
        self._last_left = account
        super().take(request)

    def put_back(self, request: Request) -> None:
        """Queue an evicted request before its client's others."""
        self.queue.push_front(request.client, self._accounts[request.client], request)

    def until_changed(self, blocked: int) -> Plan:
        """Return that nobody starts before the head fits, or it is another client's turn."""
        waiting, decodes = self.queue.waiting, self.decodes
        horizon: float = blocked
        if len(waiting) > 1 and self._next is not None:
            counter = self._counter(self._next)
            pace, change = waiting[self._next].pace(decodes)
            horizon = min(horizon, ceil(change) if change < FOREVER else FOREVER)
            for client, account in waiting.items():
                if client == self._next:
                    continue
                behind, change = account.pace(decodes)
                horizon = min(horizon, ceil(change) if change < FOREVER else FOREVER)
                if pace > behind:
                    horizon = min(horizon, floor((self._counter(client) - counter) / (pace - behind) - 1e-6))
        return Plan(horizon=max(int(horizon), 1))

    def _counter(self, client: int) -> float:
        if (known := self._counters.get(client)) is None:
            known = self._counters[client] = self._accounts[client].counter(self.decodes)
        return known

    def lift(self, account: Account) -> None:
        """Bring the counter of a client that has nothing waiting up to those that have, or had last."""
        decodes = self.decodes
        others = [other.counter(decodes) for other in self.queue.waiting.values()]
        if not others and self._last_left is not None:
            others = [self._last_left.counter(decodes)]
        if others:
            account.lifted += max(min(others) - account.counter(decodes), 0.0)

    def _take_in(self) -> None:
        for request in self.queue.arrived:
            account = self._account(request.client)
            if not account.waiting:
                self.lift(account)
            self.queue.push(request.client, account, request)
        self.queue.arrived.clear()

    def _account(self, client: int) -> Account:
        if (account := self._accounts.get(client)) is None:
            weight = self.weights[client] if 0 <= client < len(self.weights) else 1.0
            account = self._accounts[client] = Account(weight, *self.prices)
        return account
