"""What each client was served, and who of it waits."""

from collections import deque
from dataclasses import dataclass, field

from simulator.core import Request
from simulator.engine.decode_set import DecodeSet

_WINDOW = 5  # finished requests over which the prediction moves, as in VTC's artifact


@dataclass
class Account:
    """One client's service, in weighted tokens: ``counter`` falls behind others' while it is served less than they.

    A running request counts with the output it has made, or the one that was predicted when it started if that is
    longer. ``lifted``: what was added to the counter without service.
    """

    weight: float
    prompt_price: float
    output_price: float
    lifted: float = 0.0
    charged: float = 0.0  # for prompts, and for outputs that are done
    predicted: float = 0.0  # output tokens of the next request
    waiting: deque[Request] = field(default_factory=deque)
    running: dict[Request, float] = field(default_factory=dict)  # the outputs predicted

    def start(self, request: Request, predicted: float) -> None:
        """Charge a request that starts; one that was evicted is not charged again."""
        if request not in self.running:
            self.running[request] = predicted
            self.charged += self.prompt_price * request.prompt_tokens

    def finish(self, request: Request) -> None:
        """Charge a request what it made, whatever was predicted, and predict the next by it."""
        del self.running[request]
        made = request.output_tokens
        self.charged += self.output_price * made
        self.predicted = (self.predicted * (_WINDOW - 1) + made) / _WINDOW if self.predicted else made

    def counter(self, decodes: DecodeSet) -> float:
        """Return the service so far, by the client's weight."""
        tokens = sum(max(_made(request, decodes), predicted) for request, predicted in self.running.items())
        return self.lifted + (self.charged + self.output_price * tokens) / self.weight

    def pace(self, decodes: DecodeSet) -> tuple[float, float]:
        """Return by how much the counter grows an iteration, and after how many that changes."""
        growing, change = 0, float("inf")
        for request, predicted in self.running.items():
            if request in decodes:
                if (ahead := predicted - _made(request, decodes)) > 0:
                    change = min(change, ahead)
                else:
                    growing += 1
        return self.output_price * growing / self.weight, change


def _made(request: Request, decodes: DecodeSet) -> int:
    if request in decodes:
        return request.offset + decodes.iteration - request.prompt_tokens
    return request.generated


class ClientQueues:
    """Requests that wait, by client; ``arrived`` holds those that no account knows of yet."""

    def __init__(self) -> None:
        self.arrived: list[Request] = []
        self.waiting: dict[int, Account] = {}  # the accounts of those clients of whom requests wait
        self._count = 0

    def __len__(self) -> int:
        return self._count + len(self.arrived)

    def push(self, client: int, account: Account, request: Request) -> None:
        """Queue a request behind its client's others."""
        account.waiting.append(request)
        self._added(client, account)

    def push_front(self, client: int, account: Account, request: Request) -> None:
        """Queue a request before its client's others."""
        account.waiting.appendleft(request)
        self._added(client, account)

    def _added(self, client: int, account: Account) -> None:
        self.waiting[client] = account
        self._count += 1

    def pop(self, client: int) -> None:
        """Take the first request of a client."""
        account = self.waiting[client]
        account.waiting.popleft()
        self._count -= 1
        if not account.waiting:
            del self.waiting[client]
