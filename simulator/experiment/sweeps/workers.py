"""Who runs a sweep's points: this machine's cores, a Dask cluster or a Ray cluster."""

import os
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from simulator.core.errors import InputError

T = TypeVar("T")
R = TypeVar("R")

_KINDS = ("local", "dask", "ray")
_HINT = "write local, dask:ADDRESS, ray or ray:ADDRESS"


class WorkerLost(Exception):
    """A worker died (out of memory, killed): what it ran is lost, what was finished is not."""


@dataclass(frozen=True)
class Workers:
    """``jobs`` processes (None: one on each core there is) on this machine, or on a cluster at an address."""

    jobs: int | None = None
    kind: str = "local"
    address: str | None = None

    @classmethod
    def parse(cls, backend: str, jobs: int | None = None) -> "Workers":
        """Return the workers that ``--backend`` names; InputError where it names none, or its library is missing."""
        kind, _, address = backend.partition(":")
        if kind not in _KINDS or (kind == "local" and address):
            raise InputError(f"'{backend}' is no backend", where="--backend", hint=_HINT)
        if kind == "dask" and not address:
            raise InputError("a Dask cluster needs its address", where="--backend", hint=_HINT)
        if kind != "local":
            try:
                import_module("distributed" if kind == "dask" else "ray")
            except ImportError:
                hint = f"pip install 'tokenyard[{kind}]'"
                raise InputError(f"{kind} is not installed", where="--backend", hint=hint) from None
        return cls(jobs, kind, address or None)

    def count(self) -> int:
        """Return how many processes there are, as far as this machine knows."""
        return self.jobs or len(os.sched_getaffinity(0))

    def map(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        """Yield ``work`` of each item as it ends, in no order; ``work`` and items must be picklable.

        InputError if the cluster cannot be reached, WorkerLost if a worker dies; what ``work`` raises goes through.
        """
        if self.kind == "dask":
            return self._on_dask(work, items)
        if self.kind == "ray":
            return self._on_ray(work, items)
        jobs = min(self.count(), len(items))
        return map(work, items) if jobs <= 1 else _with_joblib(work, items, jobs, "loky")

    def _on_dask(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        client: Any = import_module("distributed").Client
        try:
            connected = client(self.address, set_as_default=True)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None
        with connected:
            yield from _with_joblib(work, items, self.jobs or -1, "dask")

    def _on_ray(self, work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
        # Ray's own backend for joblib gives results only when all are there: a crash would lose every one.
        ray: Any = import_module("ray")
        options: dict[str, Any] = {"address": self.address, "log_to_driver": False, "logging_level": "error"}
        if self.address is None:
            path = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            options |= {"num_cpus": self.count(), "include_dashboard": False, "runtime_env": path}
        try:
            self._knock()  # ray.init itself tries for minutes
            ray.init(**options)
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from None
        try:
            # More than the cores at once, so that none of them waits for its next item; not all, for their memory.
            most = 2 * int(min(ray.cluster_resources().get("CPU", 1), self.jobs or sys.maxsize))
            remote, left = ray.remote(work), list(reversed(items))
            running = [remote.remote(left.pop()) for _ in range(min(most, len(left)))]
            while running:
                (ended,), running = ray.wait(running)
                running += [remote.remote(left.pop())] if left else []
                try:
                    yield ray.get(ended)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    raise WorkerLost(str(error).partition("\n")[0]) from None
        finally:
            ray.shutdown()

    def _knock(self) -> None:
        """Raise OSError unless somebody listens at the address; it may also name no host and port (``auto``)."""
        host, colon, port = (self.address or "").rpartition("//")[2].rpartition(":")
        if colon and port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()

    def _unreachable(self, error: Exception) -> InputError:
        reason = str(error).partition("\n")[0]
        return InputError(f"no {self.kind} cluster at {self.address}: {reason}", where="--backend")


def _with_joblib(work: Callable[[T], R], items: Sequence[T], jobs: int, backend: str) -> Iterator[R]:
    import joblib
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    with joblib.parallel_config(backend=backend, n_jobs=jobs):
        # One item at a time: a batch would be lost as a whole, and be waited for as a whole.
        parallel = joblib.Parallel(batch_size=1, return_as="generator_unordered")
        try:
            yield from parallel(joblib.delayed(work)(item) for item in items)
        except TerminatedWorkerError:
            raise WorkerLost("a worker process died; was the memory enough for so many at once?") from None
