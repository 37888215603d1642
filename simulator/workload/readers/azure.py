"""Azure's public LLM traces (2023 and 2024): ``TIMESTAMP,ContextTokens,GeneratedTokens``.

The 2023 files have timestamps with seven decimals, the 2024 ones up to six and a time zone (``+00:00``).
"""

import re

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.clock import LONGEST_DAYS
from simulator.workload.readers.csv_table import Bytes, CsvTable, distinct
from simulator.workload.readers.table import Bool, Int, from_first, positive, reject
from simulator.workload.table import Workload

HEADER = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_STAMP = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d{1,12})?(?:Z|[+-]\d\d:\d\d)?")
_FIELDS = ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))  # year, month, day, hour, minute, second


def read_azure(table: CsvTable, name: str) -> Workload:
    """Return the requests of an Azure LLM inference trace; arrivals count from the first row's timestamp."""
    prompt = positive(table.integers("ContextTokens"), "ContextTokens", table.where)
    output = positive(table.integers("GeneratedTokens"), "GeneratedTokens", table.where)
    arrival = _timestamps(table)
    source = f"{table.path.name}: Azure LLM inference trace, {len(prompt)} requests"
    return Workload(name, source, arrival, prompt, output)


def _timestamps(table: CsvTable) -> Int:
    starts, stops = table.spans("TIMESTAMP")
    widths = stops - starts
    seconds, fraction = np.empty(len(starts), np.int64), np.empty(len(starts), np.int64)
    # Rows of one width are parsed together: they share their layout, unless some are malformed.
    for width in distinct(widths):
        rows = np.flatnonzero(widths == width)
        text = table.cell("TIMESTAMP", int(rows[0]))
        if _STAMP.fullmatch(text) is None or len(text) != width:
            raise _bad_timestamp(table, int(rows[0]))
        layout = np.frombuffer(text.encode(), np.uint8)
        stamps = table.bytes[starts[rows, None] + np.arange(width)]
        # Bytes below "0" wrap around to large ones, so one comparison tells a digit.
        is_digit = layout - np.uint8(ord("0")) <= 9
        matches = (stamps[:, is_digit] - np.uint8(ord("0")) <= 9).all(axis=1)
        matches &= (stamps[:, ~is_digit] == layout[~is_digit]).all(axis=1)
        if not matches.all():
            raise _bad_timestamp(table, int(rows[np.argmin(matches)]))
        seconds[rows], valid = _whole_seconds(stamps, text)
        if not valid.all():
            raise _bad_timestamp(table, int(rows[np.argmin(valid)]))
        fraction[rows] = _fraction_ps(stamps, text)
    # In whole seconds first: seconds since 1970 in picoseconds would not fit 64 bits.
    since = seconds - seconds[0]
    reject(
        np.abs(since) > LONGEST_DAYS * 86_400,
        table.where,
        lambda row: f"TIMESTAMP is more than {LONGEST_DAYS} days from the first row's",
    )
    since_ps = since * 10**12 + fraction
    return from_first(since_ps - since_ps[0], "TIMESTAMP", table.where)


def _whole_seconds(stamps: Bytes, text: str) -> tuple[Int, Bool]:
    """Return UTC seconds since 1970 and which rows name a moment that exists."""
    year, month, day, hour, minute, second = (_field(stamps, start, stop) for start, stop in _FIELDS)
    month_exists = (month >= 1) & (month <= 12)
    months = (year - 1970) * 12 + np.where(month_exists, month, 1) - 1
    first_day = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    next_first = (months + 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    days = first_day + day - 1
    valid = month_exists & (days >= first_day) & (days < next_first) & (hour < 24) & (minute < 60) & (second < 60)
    seconds = days * 86_400 + hour * 3600 + minute * 60 + second
    if text[-6] in "+-":
        width = len(text)
        offset = _field(stamps, width - 5, width - 3) * 3600 + _field(stamps, width - 2, width) * 60
        seconds -= offset if text[-6] == "+" else -offset
    return seconds, valid


def _fraction_ps(stamps: Bytes, text: str) -> Int:
    match = re.match(r"\.(\d+)", text[19:])
    if match is None:
        return np.zeros(len(stamps), np.int64)
    digits = len(match[1])
    return _field(stamps, 20, 20 + digits) * np.int64(10 ** (12 - digits))


def _field(stamps: Bytes, start: int, stop: int) -> Int:
    """Return the number in columns ``start:stop`` of a matrix of digits, one a row."""
    value = np.zeros(len(stamps), np.int64)
    for column in range(start, stop):
        value = value * 10 + (stamps[:, column] - np.uint8(ord("0")))
    return value


def _bad_timestamp(table: CsvTable, row: int) -> InputError:
    return InputError(f"malformed row: TIMESTAMP is {table.cell('TIMESTAMP', row)!r}", where=table.where(row),
                      hint="write it like 2023-11-16 18:15:46.6805900")  # fmt: skip
