"""A workload as columns: what every reader and generator makes and the simulation replays."""

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]


@dataclass(frozen=True)
class PrefixTable:
    """Which content each prompt starts with, as one ragged array (rows in ``offsets``, as in CSR).

    Request i's prompt is made of segments ``offsets[i]:offsets[i + 1]``; segment j ends after ``end_tokens[j]`` prompt
    tokens and ``ids[j]`` names its content *and all before it*, so two prompts with an equal id at an equal end share
    every token up to there. Tokens beyond the last segment are the request's own.
    """

    offsets: Int
    ids: Int
    end_tokens: Int

    def take(self, rows: Int) -> "PrefixTable":
        """Return the table of a selection of requests, in that order."""
        starts, stops = self.offsets[rows], self.offsets[rows + 1]
        lengths = stops - starts
        offsets = np.concatenate(([0], np.cumsum(lengths)))
        index = np.arange(offsets[-1]) + np.repeat(starts - offsets[:-1], lengths)
        return PrefixTable(offsets, self.ids[index], self.end_tokens[index])


@dataclass(frozen=True)
class FollowUps:
    """Requests that are sent when another one ends: together they answer one question.

    ``after[i]`` is the index of the request whose end sends request i, -1 for one that is sent at its arrival.
    ``shown[i]`` tells whether its output is part of the answer.
    """

    after: Int
    shown: NDArray[np.bool_]

    def take(self, rows: Int) -> "FollowUps":
        """Return the same of a selection of requests, in that order; whoever follows one that goes must go as well."""
        place = np.full(len(self.after), -1, np.int64)
        place[rows] = np.arange(len(rows))
        after = self.after[rows]
        moved = np.where(after >= 0, place[after], -1)
        assert ((moved >= 0) == (after >= 0)).all(), "a request stayed that follows one which went"
        return FollowUps(moved, self.shown[rows])


@dataclass(frozen=True)
class ClosedLoop:
    """Requests are not timed: ``concurrency`` clients each send the next one ``think_ps`` after their last finished."""

    concurrency: int
    think_ps: int = 0


@dataclass(frozen=True)
class Workload:
    """Requests in order of arrival.

    Shapes: every column has one entry a request. ``arrival_ps`` is picoseconds from the start and never falls; with
    ``closed_loop`` it is ignored. ``priority``: lower runs earlier, as in vLLM. ``client`` indexes ``clients``, and
    ``model`` ``models``: which model each request asks for, where the workload says so.
    ``lead_ps`` is what a request spent before it reached the cluster at ``arrival_ps`` (retrieval, say); latencies
    count from the beginning of that. ``source`` says in one line where the figures come from; it ends up in the
    results.
    """

    name: str
    source: str
    arrival_ps: Int
    prompt_tokens: Int
    output_tokens: Int
    priority: Int | None = None
    client: Int | None = None
    clients: tuple[str, ...] = ()
    session: Int | None = None
    prefix: PrefixTable | None = None
    closed_loop: ClosedLoop | None = None
    follow_ups: FollowUps | None = None
    lead_ps: Int | None = None
    model: Int | None = None
    models: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.prompt_tokens)

    def take(self, rows: Int) -> Self:
        """Return the workload of a selection of requests, in that order."""

        def pick(column: Int | None) -> Int | None:
            return None if column is None else column[rows]

        return replace(
            self,
            arrival_ps=self.arrival_ps[rows],
            prompt_tokens=self.prompt_tokens[rows],
            output_tokens=self.output_tokens[rows],
            priority=pick(self.priority),
            client=pick(self.client),
            session=pick(self.session),
            prefix=None if self.prefix is None else self.prefix.take(rows),
            follow_ups=None if self.follow_ups is None else self.follow_ups.take(rows),
            lead_ps=pick(self.lead_ps),
            model=pick(self.model),
        )
