"""A request on its way through the cluster."""

from enum import Enum
from typing import NamedTuple


class Segment(NamedTuple):
    """A piece of a prompt: ``id`` names the content up to prompt token ``end``, all before it included."""

    id: int
    end: int


class Status(Enum):
    """How a request ended, or that it hasn't."""

    UNFINISHED = "unfinished"
    COMPLETED = "completed"
    FAILED = "failed"


class Request:
    """One request: what was asked, how far it got, and when (times in picoseconds, -1 while unknown).

    ``computed`` counts the tokens whose KV is in the cache and ``generated`` the output tokens made. While a request
    decodes in a batch both stand still and the batch knows the truth (``DecodeSet``); they are right again as soon as
    it leaves. ``lead`` is what it spent before its ``arrival``. ``model`` numbers the model that it is for, -1 where no
    workload says. ``after`` is the index of the request whose end sent it, -1 if none, and ``shown`` whether its output
    is part of the answer. ``blocks`` are the KV blocks it holds while not decoding. ``output_id`` names the content of
    its output where requests may share it, as ``Segment.id`` does. ``stop_at`` is how many output tokens are made where
    it is now: all of them, unless another instance goes on with it.
    """

    __slots__ = (
        "admitted_at",
        "after",
        "arrival",
        "blocks",
        "cached",
        "client",
        "computed",
        "failure",
        "finish_iteration",
        "finished_at",
        "first_token_at",
        "generated",
        "index",
        "instance",
        "joined",
        "lead",
        "model",
        "offset",
        "output_id",
        "output_tokens",
        "preemptions",
        "priority",
        "prompt_tokens",
        "segments",
        "session",
        "shown",
        "span_start",
        "stop_at",
    )

    def __init__(
        self,
        index: int,
        arrival: int,
        prompt_tokens: int,
        output_tokens: int,
        *,
        priority: int = 0,
        client: int = -1,
        session: int = -1,
        segments: tuple[Segment, ...] = (),
        output_id: int | None = None,
    ) -> None:
        self.index = index
        self.arrival = arrival
        self.lead = 0
        self.model = -1
        self.prompt_tokens = prompt_tokens
        self.output_tokens = self.stop_at = output_tokens
        self.priority = priority
        self.client = client
        self.session = session
        self.segments = segments
        self.output_id = output_id
        self.computed = self.generated = self.cached = self.preemptions = self.blocks = 0
        self.instance = self.admitted_at = self.first_token_at = self.finished_at = -1
        self.after = -1
        self.shown = True
        self.failure: str | None = None

    # What a decode set notes of its members.
    offset: int
    finish_iteration: int
    joined: int
    span_start: int

    def __lt__(self, other: "Request") -> bool:
        return self.index < other.index

    def __hash__(self) -> int:
        return self.index

    @property
    def tokens(self) -> int:
        """Tokens that must be in the cache before the next one can be sampled: the prompt and what was generated."""
        return self.prompt_tokens + self.generated

    @property
    def status(self) -> Status:
        """How the request ended, or ``UNFINISHED``."""
        if self.failure is not None:
            return Status.FAILED
        return Status.COMPLETED if self.finished_at >= 0 else Status.UNFINISHED

    def __repr__(self) -> str:
        return f"Request({self.index}, {self.prompt_tokens}+{self.output_tokens}, generated={self.generated})"
