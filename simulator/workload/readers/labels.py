"""Names of clients and sessions as numbers."""

import numpy as np

from simulator.workload.table import Int


def codes(labels: list[str]) -> tuple[Int, tuple[str, ...]]:
    """Return each label's index into the distinct labels, in order of appearance; all blanks are one label."""
    order = dict.fromkeys(labels)
    index = {label: i for i, label in enumerate(order)}
    return np.fromiter(map(index.__getitem__, labels), np.int64, len(labels)), tuple(order)


def sessions(labels: list[str]) -> Int:
    """Return each label's session number; a blank label is a session of its own."""
    return codes([label or f"\0{row}" for row, label in enumerate(labels)])[0]
