"""All-reduces: none on one GPU, the link where GPUs cannot read each other's memory, else what was measured."""

import numpy as np
import pytest
from support.gpus import LIBRARY, gpu, grid

from simulator.cost.collectives import Collectives

SIZES = np.array([1e3, 1e6, 8 * 2**20, 1e8, 1e9])
MIB = 2.0**20


def reduced(seconds, operator="allreduce", library=LIBRARY, **attributes):
    axes = (("gpus", (2, 4, 8), "linear"), ("bytes", (1e3, 1e6, 8 * MIB, 1e8), "log"))
    return grid(operator, axes, seconds, library=library, **attributes)


CUSTOM = reduced(lambda gpus, size: 1e-12 * gpus * size, dtype="bfloat16", graph=1)
EAGER = reduced(lambda gpus, size: 9e-12 * gpus * size, dtype="bfloat16", graph=0)
NCCL = reduced(lambda gpus, size: 2e-12 * gpus * size, "collective", "nccl-2", op="all_reduce", dtype="half")
GATHER = reduced(lambda gpus, size: 7e-12 * gpus * size, "collective", "nccl-2", op="all_gather", dtype="half")


def test_one_gpu_has_nobody_to_wait_for():
    alone = Collectives(gpu([CUSTOM, NCCL]), LIBRARY, 1)
    assert alone.allreduce(SIZES).tolist() == [0] * 5
    assert alone.note == "none needed"


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_small_ones_are_the_engines_own_and_large_ones_nccls(gpus):
    made = Collectives(gpu([EAGER, CUSTOM, GATHER, NCCL]), LIBRARY, gpus)
    # Beyond the table's 100 MB time grows with the bytes.
    expected = [1e-12 * gpus * size if size <= 8 * MIB else 2e-12 * gpus * size for size in SIZES]
    np.testing.assert_allclose(made.allreduce(SIZES), expected)
    assert made.note == f"measured ({LIBRARY}, nccl-2)"


def test_either_alone_stands_for_both():
    np.testing.assert_allclose(Collectives(gpu([CUSTOM]), LIBRARY, 4).allreduce(SIZES), 4e-12 * SIZES)
    np.testing.assert_allclose(Collectives(gpu([NCCL]), None, 4).allreduce(SIZES), 8e-12 * SIZES)


def test_another_version_that_reduced_on_more_gpus_stands_in():
    # As of a GB300: within a tray by one version of vLLM, across trays by another.
    axes = (("gpus", (2, 4), "linear"), ("bytes", (1e3, 1e8), "log"))
    few = grid("allreduce", axes, lambda gpus, size: 1e-12 * size, library="vllm-1.0", dtype="bfloat16", graph=1)
    many = reduced(lambda gpus, size: 3e-12 * size, library="vllm-1.1", dtype="bfloat16", graph=1)
    other = reduced(lambda gpus, size: 9e-12 * size, library="trtllm-1.0", dtype="bfloat16", graph=1)
    for gpus, each, note in ((4, 1e-12, "measured (vllm-1.0)"), (8, 3e-12, "measured (vllm-1.1)")):
        made = Collectives(gpu([few, many, other]), "vllm-1.0", gpus)
        np.testing.assert_allclose(made.allreduce(SIZES), each * SIZES)
        assert made.note == note


def test_collectives_of_another_vendor_are_as_good():
    named = reduced(lambda gpus, size: 2e-12 * gpus * size, "collective", "oneccl-1", op="all_reduce", dtype="half")
    made = Collectives(gpu([named]), LIBRARY, 4)
    np.testing.assert_allclose(made.allreduce(SIZES), 8e-12 * SIZES)
    assert made.note == "measured (oneccl-1)"


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_without_peer_access_the_link_decides_whatever_was_measured(gpus):
    # Ring: each GPU sends and receives (n - 1) / n of the array twice.
    link = {"latency": "6us", "bandwidth": "16GB/s", "most_gpus": 8, "direct": False}
    expected = 6e-6 + 2 * (gpus - 1) / gpus * SIZES / 16e9
    made = Collectives(gpu([CUSTOM, NCCL], allreduce=link), LIBRARY, gpus)
    np.testing.assert_allclose(made.allreduce(SIZES), expected)
    assert made.note == "latency and bandwidth of the link"


def test_without_a_table_the_link_stands_in():
    expected = 10e-6 + 2 * 3 / 4 * SIZES / 100e9
    made = Collectives(gpu(), LIBRARY, 4)
    np.testing.assert_allclose(made.allreduce(SIZES), expected)
    assert made.note == "latency and bandwidth of the link"


def test_a_table_of_fewer_gpus_is_not_stretched():
    assert Collectives(gpu([CUSTOM]), LIBRARY, 16).note == "latency and bandwidth of the link"
