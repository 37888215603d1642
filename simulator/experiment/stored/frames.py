"""Results in Python: the summary and the tables as pandas DataFrames, read when they are first asked for."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simulator.experiment.stored.folder import find_runs, only_run, read_summary, read_table
from simulator.experiment.stored.request_way import request_way

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True)
class Results:
    """A results folder. Its tables are those that docs/results.md describes, one DataFrame each."""

    folder: Path

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``."""
        return read_summary(self.folder)

    @cached_property
    def metrics(self) -> "DataFrame":
        """The metrics of the summary: one row a run, indexed by its name; swept values stand before them."""
        from pandas import DataFrame, Index

        rows = [{**run.get("sweep", {}), **run["metrics"]} for run in self.summary["runs"]]
        return DataFrame(rows, index=Index([run["name"] for run in self.summary["runs"]], name="run"))

    @cached_property
    def requests(self) -> "DataFrame":
        """One row a request of every run."""
        return self._table("requests.parquet")

    @cached_property
    def iterations(self) -> "DataFrame":
        """One row a stretch of iterations with an unchanged batch, of every instance of every run."""
        return self._table("iterations.parquet")

    @cached_property
    def spans(self) -> "DataFrame":
        """One row a stretch of iterations in which a request made a token each."""
        return self._table("spans.parquet")

    def request(self, number: int, run: str | None = None) -> dict[str, Any]:
        """Return one request's way, as ``tokenyard inspect --json`` prints it; ``run`` is needed if there are several.

        InputError where there is no such run or request.
        """
        return request_way(only_run(find_runs(str(self.folder)), run), number)

    def _table(self, file: str) -> "DataFrame":
        frame: DataFrame = read_table(self.folder, file).to_pandas()
        return frame


def load(folder: str | Path) -> Results:
    """Return the results in a folder; InputError where there are none that this version reads."""
    results = Results(Path(folder))
    _ = results.summary  # a wrong folder should be known now, not at the first table
    return results
