"""Ledgers written by hand."""

from simulator.engine.ledger import RUN_COLUMNS, Ledger, pack_run


def add_run(ledger: Ledger, **columns: int) -> None:
    """Append a run; columns that are not given are 0."""
    assert columns.keys() <= set(RUN_COLUMNS)
    ledger.add_packed_run(pack_run(*(columns.get(name, 0) for name in RUN_COLUMNS)))
