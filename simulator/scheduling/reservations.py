"""KV memory promised to requests before they start, so that nobody is ever short of it."""

from typing import Literal

from simulator.core import Request

Reserve = Literal["max", "pow2", "oracle"]


class Reservations:
    """Promises of ``total`` KV blocks, wherever they lie: one fits as long as the sum does."""

    def __init__(self, total: int) -> None:
        self.total = self.free = total
        self._taken: dict[Request, int] = {}

    def __len__(self) -> int:
        return len(self._taken)

    def __contains__(self, request: Request) -> bool:
        return request in self._taken

    def take(self, request: Request, blocks: int) -> bool:
        """Promise a request so many blocks; False if they are not there. More than ``total`` means all of them."""
        blocks = min(blocks, self.total)
        if blocks > self.free:
            return False
        self.free -= blocks
        self._taken[request] = blocks
        return True

    def give_back(self, request: Request) -> None:
        """Take a promise back; nothing happens to a request that has none."""
        self.free += self._taken.pop(request, 0)


def reserved_tokens(request: Request, reserve: Reserve, max_len: int) -> int:
    """Return how many KV tokens a request is promised: the three variants of Orca in vLLM's paper (section 6.1).

    ``max``: as many as the longest sequence, ``max_len``. ``pow2``: the prompt and the output rounded up to a power of
    two, in all no more than ``max_len``. ``oracle``: the prompt and the output, which no real engine knows. Never less
    than the request needs.
    """
    needed = request.prompt_tokens + request.output_tokens
    if reserve == "oracle":
        return needed
    wanted = request.prompt_tokens + power_of_two(request.output_tokens) if reserve == "pow2" else max_len
    return max(needed, min(wanted, max_len))


def power_of_two(number: int) -> int:
    """Return the smallest power of two that is not below a number above 0."""
    return 1 << (number - 1).bit_length()
