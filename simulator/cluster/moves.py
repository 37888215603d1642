"""KV on its way from one instance to another: what moved, when, and how many bytes."""

from typing import NamedTuple


class Move(NamedTuple):
    """One request's KV from an instance to another; times in ps.

    ``kind``: ``transfer`` (from prefill to decode) or ``migration`` (of a request that decodes). ``asked``: when it was
    decided; ``started``: when the first byte left; ``ended``: when the target had all of it. ``stopped``: how long the
    request made no token for it.
    """

    kind: str
    request: int
    source: int
    target: int
    asked: int
    started: int
    ended: int
    size: int
    stopped: int
