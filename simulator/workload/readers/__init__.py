"""Trace files in: the format is told by its header, and ``read_trace`` gives the same table for all."""

from pathlib import Path

from simulator.core.errors import InputError
from simulator.workload.readers import azure, burstgpt, mooncake
from simulator.workload.readers.csv_table import CsvTable
from simulator.workload.readers.mooncake import write_mooncake
from simulator.workload.readers.plain import read_lengths, read_plain
from simulator.workload.readers.records import RecordTable, parse_records, read_parquet, to_table
from simulator.workload.readers.source import open_text
from simulator.workload.table import Int, Workload

__all__ = ["read_length_pairs", "read_trace", "write_mooncake"]


def read_trace(path: Path) -> Workload:
    """Return the requests of a trace file: Azure, BurstGPT or plain CSV, Mooncake or plain JSON Lines, or Parquet.

    Text files may be gzipped. The first request arrives at 0. InputError names the file and line of what is wrong.
    """
    name = Path(path.name.removesuffix(".gz")).stem
    table = _open(path)
    if isinstance(table, CsvTable):
        if all(column in table.names for column in azure.HEADER):
            return azure.read_azure(table, name)
        if all(column in table.names for column in burstgpt.HEADER):
            return burstgpt.read_burstgpt(table, name)
    elif all(key in table.names for key in mooncake.KEYS):
        return mooncake.read_mooncake(table, name)
    return read_plain(table, name)


def read_length_pairs(path: Path) -> tuple[Int, Int]:
    """Return (prompt, output) token counts, one pair a request, of any file ``read_trace`` reads, arrivals or not."""
    return read_lengths(_open(path))


def _open(path: Path) -> CsvTable | RecordTable:
    if path.suffix.lower() == ".parquet":
        return read_parquet(path)
    data = open_text(path)
    first = data.lstrip()[:1]
    if first == b"[":
        raise InputError("a JSON array is not JSON Lines", where=f"{path}:1", hint="write one object a line")
    return to_table(path, *parse_records(path, data)) if first == b"{" else CsvTable(path, data)
