"""A run's folder, as ``tokenyard validate requests`` reads it, written while the run goes on."""

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from serving.scheduler import Scheduler, Served, Work

_COLUMNS = "start,end,decodes,decode_context,chunks,running,waiting,free_blocks"


class Recorder:
    """Writes ``requests.jsonl`` (a line a finished request) and ``iterations.csv``; a run that is killed leaves both.

    Of an iteration: stamps (monotonic seconds), how many decoded over how many KV tokens in all (their new ones
    included), its prompt chunks as ``past+new``, and what was running, waiting and free when it ended.
    """

    def __init__(self, folder: Path, meta: Mapping[str, Any], *, wall: float) -> None:
        """``wall``: wall time less the monotonic clock's."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({**meta, "complete": False}, indent=1)
        (folder / "meta.json").write_text(text + "\n", encoding="utf-8")
        self._folder, self._meta, self._wall = folder, meta, wall
        self._requests = (folder / "requests.jsonl").open("w", encoding="utf-8", buffering=1)
        self._iterations = (folder / "iterations.csv").open("w", encoding="utf-8", buffering=1)
        self._iterations.write(_COLUMNS + "\n")
        self.requests = self.preemptions = self.iterations = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._requests.close()
        self._iterations.close()
        counts = {"complete": kind is None, "num_requests": self.requests, "iterations": self.iterations}
        text = json.dumps({**self._meta, **counts, "preemptions": self.preemptions}, indent=1)
        (self._folder / "meta.json").write_text(text + "\n", encoding="utf-8")

    def finished(self, request: Served) -> None:
        """Write a request's line."""
        line = {
            "request_id": f"request-{request.index}",
            "input_toks": request.prompt,
            "output_toks": request.output,
            "arrival_time": request.arrival + self._wall,
            "queued_ts": request.queued,
            "scheduled_ts": request.scheduled,
            "first_token_ts": request.first_token,
            "last_token_ts": request.last_token,
            "preemptions": request.preemptions,
        }
        self._requests.write(json.dumps(line) + "\n")
        self.requests += 1
        self.preemptions += request.preemptions

    def iteration(self, work: Work, start: float, end: float, scheduler: Scheduler) -> None:
        """Write an iteration's line."""
        context = sum(part.past + 1 for part in work.parts[: work.decodes])
        chunks = " ".join(f"{part.past}+{part.new}" for part in work.parts[work.decodes :])
        state = f"{len(scheduler.running)},{len(scheduler.waiting)},{len(scheduler.free)}"
        self._iterations.write(f"{start:.6f},{end:.6f},{work.decodes},{context},{chunks},{state}\n")
        self.iterations += 1
