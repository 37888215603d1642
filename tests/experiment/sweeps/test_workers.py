"""Workers give every result, let a mistake through, and say so when one of them is lost."""

import operator
import os

import pytest

from simulator.core import InputError
from simulator.experiment.overrides import parse_set
from simulator.experiment.sweeps.workers import WorkerLost, Workers


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_item_gives_its_result(jobs):
    assert sorted(Workers(jobs).map(operator.neg, range(7))) == [-6, -5, -4, -3, -2, -1, 0]


def test_a_mistake_comes_through_whole():
    with pytest.raises(InputError) as error:
        list(Workers(2).map(parse_set, ["x", "x"]))
    assert str(error.value) == "--set x: 'x' is not an override (write --set cluster.router=round_robin)"


def test_a_worker_that_dies_is_reported():
    with pytest.raises(WorkerLost, match="a worker process died"):
        list(Workers(2).map(os._exit, [1, 1]))


def test_nobody_at_a_dask_address():
    dask = pytest.importorskip("dask", reason="needs tokenyard[dask]")
    pytest.importorskip("distributed", reason="needs tokenyard[dask]")
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        pytest.raises(InputError, match=r"no dask cluster at tcp://127\.0\.0\.1:9: "),
    ):
        list(Workers.parse("dask:tcp://127.0.0.1:9").map(abs, [1, 2]))


def test_nobody_at_a_ray_address():
    pytest.importorskip("ray", reason="needs tokenyard[ray]")
    with pytest.raises(InputError, match=r"no ray cluster at 127\.0\.0\.1:9: .*refused"):
        list(Workers.parse("ray:127.0.0.1:9").map(abs, [1, 2]))


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("dusk:tcp://x", "'dusk:tcp://x' is no backend (write local, dask:ADDRESS, ray or ray:ADDRESS)"),
        ("local:x", "'local:x' is no backend"),
        ("dask", "a Dask cluster needs its address"),
    ],
)
def test_a_backend_that_is_none(backend, message):
    with pytest.raises(InputError) as error:
        Workers.parse(backend)
    assert message in str(error.value)
