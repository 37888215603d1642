"""Mooncake's JSON Lines, the field's interchange format: ``timestamp`` (ms), lengths and the prompt's block hashes.

An id in ``hash_ids`` names a block of 512 prompt tokens and all before it, so equal ids are a shared beginning.
``session_id``, ``priority`` and ``client`` are our additions; they are optional and other readers pass over them.
"""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from simulator.core.errors import InputError
from simulator.core.units import PS_PER_MS
from simulator.workload.clock import LONGEST_DAYS, LONGEST_PS
from simulator.workload.readers.labels import codes, sessions
from simulator.workload.readers.records import RecordTable
from simulator.workload.readers.table import Int, from_first, not_a_number, positive, reject
from simulator.workload.table import PrefixTable, Workload

BLOCK_TOKENS = 512
KEYS = ("timestamp", "input_length", "output_length")


def read_mooncake(table: RecordTable, name: str) -> Workload:
    """Return the requests of a Mooncake trace; arrivals count from the first row's timestamp."""
    prompt = positive(table.integers("input_length"), "input_length", table.where)
    output = positive(table.integers("output_length"), "output_length", table.where)
    arrival = _milliseconds(table.values("timestamp"), table.where)
    client, clients = codes(table.text("client")) if "client" in table.names else (None, ())
    model, models = codes(table.text("model")) if "model" in table.names else (None, ())
    return Workload(
        name,
        f"{table.path.name}: Mooncake trace, {len(prompt)} requests",
        arrival,
        prompt,
        output,
        priority=table.integers("priority") if "priority" in table.names else None,
        client=client,
        clients=clients,
        session=sessions(table.text("session_id")) if "session_id" in table.names else None,
        prefix=_prefix(table.values("hash_ids"), prompt, table.where) if "hash_ids" in table.names else None,
        model=model,
        models=models,
    )


def write_mooncake(workload: Workload, path: Path) -> None:
    """Write a workload as Mooncake JSON Lines; a closed loop's requests all get timestamp 0.

    Prefixes that aren't cut at multiples of 512 tokens lose the part of a block that they don't fill.
    """
    offsets, ids = _blocks(workload) if workload.prefix is not None else (None, None)
    with path.open("w", encoding="utf-8") as out:
        for i in range(len(workload)):
            row: dict[str, Any] = {"timestamp": 0, "input_length": int(workload.prompt_tokens[i]),
                                   "output_length": int(workload.output_tokens[i])}  # fmt: skip
            if offsets is not None and ids is not None:
                row["hash_ids"] = ids[offsets[i] : offsets[i + 1]].tolist()
            if workload.session is not None:
                row["session_id"] = int(workload.session[i])
            if workload.model is not None:
                row["model"] = workload.models[workload.model[i]]
            if workload.priority is not None:
                row["priority"] = int(workload.priority[i])
            if workload.client is not None:
                row["client"] = workload.clients[workload.client[i]]
            text = json.dumps(row)
            if workload.closed_loop is None:
                # A float would round picoseconds; a JSON number may have all its decimals.
                text = text.replace('"timestamp": 0', f'"timestamp": {_exact_ms(int(workload.arrival_ps[i]))}', 1)
            out.write(text + "\n")


def _milliseconds(values: list[Any], where: Any) -> Int:
    try:
        ps = [int(value * PS_PER_MS) for value in values]
    except (TypeError, ValueError, ArithmeticError):
        row = next(i for i, value in enumerate(values) if not _is_finite(value))
        not_a_number(values[row], "timestamp", where(row))
    reject(np.array([value < 0 for value in ps]), where,
           lambda row: f"timestamp is {values[row]}, but must not be negative")  # fmt: skip
    since = np.array([value - ps[0] for value in ps], np.float64)
    reject(
        np.abs(since) > LONGEST_PS,
        where,
        lambda row: f"timestamp is more than {LONGEST_DAYS} days from the first row's",
    )
    return from_first(np.array([value - ps[0] for value in ps], np.int64), "timestamp", where)


def _is_finite(value: Any) -> bool:
    try:
        int(value * PS_PER_MS)
    except (TypeError, ValueError, ArithmeticError):
        return False
    return True


def _prefix(rows: list[Any], prompt: Int, where: Any) -> PrefixTable:
    rows = [[] if row is None else row for row in rows]
    if set(map(type, rows)) != {list}:
        bad = next(i for i, row in enumerate(rows) if type(row) is not list)
        raise InputError(f"hash_ids is {rows[bad]!r}, not a list", where=where(bad))
    counts = np.fromiter(map(len, rows), np.int64, len(rows))
    reject((counts - 1) * BLOCK_TOKENS >= prompt, where,
           lambda i: f"{counts[i]} hash_ids are too many for {prompt[i]} tokens, {BLOCK_TOKENS} each")  # fmt: skip
    offsets = np.concatenate(([0], np.cumsum(counts)))
    try:
        flat = list(chain.from_iterable(rows))
        if not set(map(type, flat)) <= {int}:
            raise TypeError
        ids = np.array(flat, np.int64)
    except (TypeError, OverflowError):
        bad = next(i for i, row in enumerate(rows) if not all(type(v) is int and abs(v) < 2**63 for v in row))
        raise InputError("hash_ids must be whole numbers of 64 bits", where=where(bad)) from None
    block = np.arange(len(ids)) - np.repeat(offsets[:-1], counts)
    ends = np.minimum((block + 1) * BLOCK_TOKENS, np.repeat(prompt, counts))
    return PrefixTable(offsets, ids, ends)


def _blocks(workload: Workload) -> tuple[Int, Int]:
    """Return offsets and ids of 512-token blocks: equal ids where two prompts are known to agree to the block's end."""
    prefix, prompt = workload.prefix, workload.prompt_tokens
    assert prefix is not None
    rows = np.repeat(np.arange(len(prompt)), np.diff(prefix.offsets))
    place = np.arange(len(rows)) - prefix.offsets[rows]
    if np.array_equal(prefix.end_tokens, np.minimum((place + 1) * BLOCK_TOKENS, prompt[rows])):
        return prefix.offsets, prefix.ids
    counts = -(-prompt // BLOCK_TOKENS)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    row = np.repeat(np.arange(len(prompt)), counts)
    number = np.arange(offsets[-1]) - offsets[row]
    end = np.minimum((number + 1) * BLOCK_TOKENS, prompt[row])
    # The first segment that reaches a block's end says what the block holds; ends rise within a row, so one sorted
    # key (row, end) finds it.
    span = int(prompt.max()) + 1
    segment = np.searchsorted(rows * span + prefix.end_tokens, row * span + end)
    covered = segment < prefix.offsets[row + 1]
    segment = np.minimum(segment, max(len(prefix.ids) - 1, 0))
    # What no segment covers is the request's own: a key that no other block has.
    owner = np.where(covered, prefix.ids[segment], np.arange(len(row)))
    reach = np.where(covered, prefix.end_tokens[segment], -1)
    keys = np.stack((covered.astype(np.int64), owner, reach, end), axis=1)
    return offsets, np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)


def _exact_ms(ps: int) -> str:
    whole, rest = divmod(ps, PS_PER_MS)
    return f"{whole}.{rest:09d}".rstrip("0") if rest else str(whole)
