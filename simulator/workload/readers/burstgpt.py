"""BurstGPT's CSV, by its header's names: files with and without ``Session ID`` and ``Elapsed time`` are both read."""

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.csv_table import CsvTable
from simulator.workload.readers.labels import sessions
from simulator.workload.readers.table import positive, seconds_to_ps
from simulator.workload.table import Workload

HEADER = ("Timestamp", "Request tokens", "Response tokens")


def read_burstgpt(table: CsvTable, name: str) -> Workload:
    """Return a BurstGPT file's requests; those with 0 response tokens failed there: left out, counted in ``source``."""
    output = table.integers("Response tokens")
    kept = np.flatnonzero(output != 0)
    if not len(kept):
        raise InputError("no request has a response: all rows have 0 response tokens", where=str(table.path))

    def where(row: int) -> str:
        return table.where(int(kept[row]))

    prompt = positive(table.integers("Request tokens")[kept], "Request tokens", where)
    output = positive(output[kept], "Response tokens", where)
    arrival = seconds_to_ps(table.numbers("Timestamp")[kept], "Timestamp", where)
    session = None
    if "Session ID" in table.names:
        session = sessions(table.text("Session ID"))[kept]
    failed = len(table) - len(kept)
    source = f"{table.path.name}: BurstGPT, {len(kept)} requests, {failed} failed ones (0 response tokens) left out"
    return Workload(name, source, arrival, prompt, output, session=session)
