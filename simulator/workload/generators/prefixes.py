"""Prompts that begin alike: system prompts shared by groups, and conversations whose prompts grow."""

from dataclasses import replace
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Discriminator, Field, Tag

from simulator.core.errors import InputError
from simulator.core.quantity import Duration
from simulator.core.units import PS_PER_S
from simulator.workload.generators.lengths import draw_zipf
from simulator.workload.section import Count, Section
from simulator.workload.table import Int, PrefixTable, Workload


class GroupPrefix(Section):
    """System prompts: a ``share`` of requests belongs to one of ``groups`` and begins with that group's ``tokens``.

    They come before the prompt as drawn, which so becomes longer. ``zipf`` skews the groups' popularity (0 is even).
    """

    kind: Literal["groups"] = "groups"
    groups: Count
    tokens: Count
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    zipf: Annotated[float, Field(ge=0, le=20)] = 0.0

    def apply(self, workload: Workload, rng: np.random.Generator) -> Workload:
        """Return the workload with its requests assigned to groups."""
        joins, which = rng.spawn(2)
        member = joins.random(len(workload)) < self.share
        group = draw_zipf(which, np.arange(1, self.groups + 1), self.zipf, len(workload))[member]
        offsets = np.concatenate(([0], np.cumsum(member)))
        table = PrefixTable(offsets, group, np.full(len(group), self.tokens, np.int64))
        return replace(workload, prompt_tokens=workload.prompt_tokens + member * self.tokens, prefix=table)


class ConversationPrefix(Section):
    """Conversations: each prompt repeats the one before it in its conversation and adds to it.

    ``turns`` is the mean number of requests in a conversation (geometric), ``gap`` the mean time between them
    (exponential). All prompts longer than ``common`` begin with the same ``common`` tokens. Lengths stay those drawn:
    requests trade places so that prompts grow; ``similarity`` (0 to 1) says how close a conversation's lengths are.
    """

    kind: Literal["conversations"]
    turns: Annotated[float, Field(ge=1, le=10_000)]
    gap: Duration
    common: Annotated[int, Field(ge=0)] = 0
    similarity: Annotated[float, Field(ge=0, le=1)] = 0.5

    def apply(self, workload: Workload, rng: np.random.Generator) -> Workload:
        """Return the workload with its requests dealt to conversations, which also become its sessions."""
        if workload.closed_loop is not None:
            raise InputError("conversations need arrival times, which a closed loop has none of",
                             where="workload.prefix", hint="use 'kind: groups'")  # fmt: skip
        session = self._deal(workload.arrival_ps, rng)
        by_turn = np.argsort(session, kind="stable")
        rows = self._trade_places(workload.prompt_tokens, session, by_turn, rng)
        prompt = workload.prompt_tokens[rows]
        return replace(workload, prompt_tokens=prompt, output_tokens=workload.output_tokens[rows], session=session,
                       prefix=_growing(prompt, session, by_turn, self.common))  # fmt: skip

    def _deal(self, arrival_ps: Int, rng: np.random.Generator) -> Int:
        """Return each request's conversation: turns are laid out in time, the n-th of all takes the n-th arrival."""
        count = len(arrival_ps)
        sizes = rng.geometric(1 / self.turns, count)
        sizes = sizes[: int(np.searchsorted(np.cumsum(sizes), count)) + 1]
        session = np.repeat(np.arange(len(sizes)), sizes)[:count]
        first = np.concatenate(([True], session[1:] != session[:-1]))
        start = rng.choice(arrival_ps, len(sizes)) / PS_PER_S
        pause = np.where(first, 0.0, rng.exponential(self.gap, count))
        elapsed = np.cumsum(pause)
        moment = start[session] + elapsed - elapsed[first][session]
        # What runs past the end comes round to the start: the load at the edges stays that of the middle.
        span = max(float(arrival_ps[-1]) / PS_PER_S, 1e-9)
        return session[np.argsort(moment % span, kind="stable")]

    def _trade_places(self, prompt: Int, session: Int, by_turn: Int, rng: np.random.Generator) -> Int:
        """Return which request's lengths each request gets, so that prompts grow within a conversation."""
        count = len(prompt)
        mutual = rng.standard_normal(int(session.max()) + 1)[session] * np.sqrt(self.similarity)
        own = rng.standard_normal(count) * np.sqrt(1 - self.similarity)
        rows = np.empty(count, np.int64)
        rows[np.argsort(mutual + own)] = np.argsort(prompt, kind="stable")
        growing = np.empty(count, np.int64)
        growing[by_turn] = rows[np.lexsort((prompt[rows], session))]
        return growing


def _growing(prompt: Int, session: Int, by_turn: Int, common: int) -> PrefixTable:
    """Return the prefixes of prompts that each hold the earlier ones of their session."""
    prompt, session = prompt[by_turn], session[by_turn]
    starts = np.concatenate(([True], session[1:] != session[:-1]))
    before = np.where(starts, common, np.concatenate(([0], prompt[:-1])))
    # A prompt no longer than the one before it, or than what all have in common, ends no segment of its own.
    ends_segment = (prompt > before) & (prompt > common)
    made = np.cumsum(ends_segment)
    first_made: Int = (made - ends_segment)[starts][np.cumsum(starts) - 1]
    own: Int = made - first_made
    shares_common = (prompt > common) & (common > 0)
    counts = own + shares_common
    offsets = np.concatenate(([0], np.cumsum(counts)))
    place = np.arange(offsets[-1]) - np.repeat(offsets[:-1] + shares_common, counts)
    index = np.repeat(first_made, counts) + place
    ends = prompt[ends_segment]
    is_common = place < 0
    table = PrefixTable(offsets, np.where(is_common, 0, index + 1), np.where(is_common, common, ends[index]))
    back = np.empty_like(by_turn)
    back[by_turn] = np.arange(len(by_turn))
    return table.take(back)


def _kind(value: Any) -> Any:
    return value.get("kind", "groups") if isinstance(value, dict) else getattr(value, "kind", None)


Prefix = Annotated[
    Annotated[GroupPrefix, Tag("groups")] | Annotated[ConversationPrefix, Tag("conversations")], Discriminator(_kind)
]
