"""Many independent simulations on several cores."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")
Listener = Callable[[int, int], None]


def on_all(
    work: Callable[[T], R], items: Sequence[T], *, workers: int | None = 1, progress: Listener | None = None
) -> list[R]:
    """Return ``work`` of every item, in order; ``progress`` hears how many are done, and of how many.

    ``workers``: processes, None for one on each core there is. With more than one, ``work`` and items must be
    picklable, and each process makes its own cost models.
    """
    workers = workers or len(os.sched_getaffinity(0))
    report = progress or (lambda done, total: None)
    if workers == 1 or len(items) < 2:
        results = []
        for done, item in enumerate(items, 1):
            results.append(work(item))
            report(done, len(items))
        return results
    with ProcessPoolExecutor(min(workers, len(items))) as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            for done, _ in enumerate(as_completed(futures), 1):
                report(done, len(items))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        return [future.result() for future in futures]
