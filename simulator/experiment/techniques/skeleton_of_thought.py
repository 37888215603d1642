"""Answers written as a skeleton first, whose points are then written in parallel."""

from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from simulator.core import InputError
from simulator.experiment.schema import Experiment
from simulator.experiment.techniques.base import Technique
from simulator.experiment.techniques.registry import technique
from simulator.workload.table import FollowUps, Int, PrefixTable, Workload

_TOKENS_OF_A_POINT = 7  # the paper asks for points of 3 to 5 words; 4 tokens are about 3 words


@technique("skeleton_of_thought")
class SkeletonOfThought(Technique):
    """A request makes a skeleton of ``points`` points; then a request for each point writes it, all at once.

    The prompt of a point is that of the question, the skeleton and ``instructions`` tokens of its own, so all points
    share the KV of what comes before. Outputs of the points add up to ``growth`` times that of the request. Answers
    with too few tokens for a skeleton are written as they were. ``skeleton``: tokens of the skeleton; none: 7 a point.
    Latencies are those of the whole answer: the skeleton is its first part, the last point to end is its end.
    """

    level = "data"
    source = "Ning et al., Skeleton-of-Thought, arXiv 2307.15337, section 2"
    changes = "one request becomes a skeleton and parallel points that follow it and share its prefix"
    exclusive = "requests that follow others"

    def __init__(
        self,
        *,
        points: Annotated[int, Field(ge=2, le=64)] = 5,
        skeleton: Annotated[int, Field(ge=1)] | None = None,
        instructions: Annotated[int, Field(ge=1)] = 1,
        growth: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        self._points = points
        self._skeleton = points * _TOKENS_OF_A_POINT if skeleton is None else skeleton
        self._instructions = instructions
        self._growth = growth

    def workload(self, workload: Workload, config: Experiment, rng: np.random.Generator) -> Workload:
        """Return the workload with skeletons and points; InputError if its requests follow others already."""
        if workload.follow_ups is not None:
            raise InputError("its requests follow one another already")
        points, skeleton = self._points, self._skeleton
        split = workload.output_tokens >= skeleton + points
        copies = np.where(split, 1 + points, 1)
        rows = np.repeat(np.arange(len(workload)), copies)
        starts = np.cumsum(copies) - copies  # where each request's skeleton, or itself, stands
        first = np.zeros(len(rows), bool)
        first[starts] = True
        many = workload.take(rows)
        follows = ~first
        asked = np.where(split, skeleton, workload.output_tokens)[rows]
        each = np.maximum(np.rint(self._growth * workload.output_tokens[rows] / points).astype(np.int64), 1)
        prompt = many.prompt_tokens + np.where(follows, skeleton + self._instructions, 0)
        lead = None if many.lead_ps is None else np.where(follows, 0, many.lead_ps)
        after = np.where(follows, starts[rows], -1)
        return replace(
            many,
            prompt_tokens=prompt,
            output_tokens=np.where(follows, each, asked),
            lead_ps=lead,
            prefix=_shared(workload, rows, follows, split[rows], skeleton),
            follow_ups=FollowUps(after, np.ones(len(rows), bool)),
        )


def _shared(workload: Workload, rows: Int, follows: "np.ndarray[tuple[int], np.dtype[np.bool_]]",
            split: "np.ndarray[tuple[int], np.dtype[np.bool_]]", skeleton: int) -> PrefixTable:  # fmt: skip
    """Return which content prompts share: what they did, then the question, then its skeleton."""
    old = workload.prefix
    fresh = 1 + (int(old.ids.max()) if old is not None and len(old.ids) else 0)
    offsets, ids, ends = [0], [], []
    for row, following, whole in zip(rows.tolist(), follows.tolist(), split.tolist(), strict=True):
        prompt = int(workload.prompt_tokens[row])
        if old is not None:
            span = slice(old.offsets[row], old.offsets[row + 1])
            ids += old.ids[span].tolist()
            ends += old.end_tokens[span].tolist()
        if whole:
            if len(ends) == offsets[-1] or ends[-1] < prompt:
                ids.append(fresh + 2 * row)
                ends.append(prompt)
            if following:
                ids.append(fresh + 2 * row + 1)
                ends.append(prompt + skeleton)
        offsets.append(len(ids))
    return PrefixTable(*(np.array(column, np.int64) for column in (offsets, ids, ends)))
