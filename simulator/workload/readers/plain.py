"""Plain tables (CSV, Parquet, JSON Lines) under the column names people already use."""

import numpy as np

from simulator.core.errors import InputError
from simulator.workload.readers.labels import codes, sessions
from simulator.workload.readers.table import Int, Table, normal, positive, reject, seconds_to_ps
from simulator.workload.table import PrefixTable, Workload

# In order of preference; names are compared in lower case with underscores.
ARRIVAL_S = [
    "arrival_s", "arrival", "arrival_time", "arrival_time_s", "arrived_at", "timestamp_s", "timestamp",
    "time_s", "time",
]  # fmt: skip
ARRIVAL_MS = ["arrival_ms", "arrival_time_ms", "timestamp_ms", "time_ms"]
PROMPT = [
    "prompt_tokens", "input_tokens", "input_length", "input_len", "num_prefill_tokens", "prompt_length",
    "prompt_len", "context_tokens", "contexttokens", "request_tokens", "prefill_tokens", "isl",
]  # fmt: skip
OUTPUT = [
    "output_tokens", "output_length", "output_len", "num_decode_tokens", "completion_tokens",
    "generated_tokens", "generatedtokens", "response_tokens", "decode_tokens", "osl",
]  # fmt: skip
CLIENT = ["client", "client_id", "user", "user_id", "tenant", "tenant_id"]
MODEL = ["model", "model_id", "model_name"]
SESSION = ["session", "session_id", "conversation_id", "chat_id"]


def read_plain(table: Table, name: str) -> Workload:
    """Return the requests of a table that has columns for arrival, prompt and output; the others are optional."""
    arrival = _arrivals(table)
    prompt, output = read_lengths(table)
    client_column, session_column = _find(table, CLIENT), _find(table, SESSION)
    client, clients = codes(table.text(client_column)) if client_column else (None, ())
    model_column = _find(table, MODEL)
    model, models = codes(table.text(model_column)) if model_column else (None, ())
    priority = _find(table, ["priority"])
    return Workload(
        name,
        f"{table.path.name}: {len(prompt)} requests",
        arrival,
        prompt,
        output,
        priority=table.integers(priority) if priority else None,
        client=client,
        clients=clients,
        session=sessions(table.text(session_column)) if session_column else None,
        prefix=_prefix(table, prompt),
        model=model,
        models=models,
    )


def read_lengths(table: Table) -> tuple[Int, Int]:
    """Return the prompt and output lengths of a table, which need not say when requests arrive."""
    prompt_column, output_column = _require(table, PROMPT, "prompt"), _require(table, OUTPUT, "output")
    prompt = positive(table.integers(prompt_column), prompt_column, table.where)
    return prompt, positive(table.integers(output_column), output_column, table.where)


def _arrivals(table: Table) -> Int:
    column, scale = _find(table, ARRIVAL_S), 1.0
    if column is None:
        column, scale = _find(table, ARRIVAL_MS), 1e-3
    if column is None:
        error = _no_column(table, ARRIVAL_S + ARRIVAL_MS, "arrival")
        if _find(table, PROMPT) and _find(table, OUTPUT):
            error.hint = f"{error.hint}; for lengths without arrivals, give 'lengths: {{file: ...}}' and 'arrivals:'"
        raise error
    return seconds_to_ps(table.numbers(column) * scale, column, table.where)


def _prefix(table: Table, prompt: Int) -> PrefixTable | None:
    name, tokens = _find(table, ["prefix_id"]), _find(table, ["prefix_tokens", "prefix_length", "prefix_len"])
    if name is None and tokens is None:
        return None
    if name is None or tokens is None:
        lone, other = (name, "prefix_tokens") if name else (tokens, "prefix_id")
        raise InputError(f"column '{lone}' needs a column '{other}' beside it", where=f"{table.path}:1")
    labels, ends = table.text(name), table.integers(tokens)
    reject(ends < 0, table.where, lambda row: f"{tokens} is {ends[row]}, but must not be negative")
    reject(ends > prompt, table.where, lambda row: f"{tokens} is {ends[row]}, but the prompt has {prompt[row]}")
    shares = np.array([label != "" for label in labels]) & (ends > 0)
    offsets = np.concatenate(([0], np.cumsum(shares)))
    return PrefixTable(offsets, codes(labels)[0][shares], ends[shares])


def _find(table: Table, aliases: list[str]) -> str | None:
    by_normal = {normal(name): name for name in table.names}
    return next((by_normal[alias] for alias in aliases if alias in by_normal), None)


def _require(table: Table, aliases: list[str], what: str) -> str:
    column = _find(table, aliases)
    if column is None:
        raise _no_column(table, aliases, what)
    return column


def _no_column(table: Table, aliases: list[str], what: str) -> InputError:
    return InputError(f"no {what} column among {', '.join(table.names)}", where=f"{table.path}:1",
                      hint=f"name it {', '.join(aliases[:4])} or similar")  # fmt: skip
