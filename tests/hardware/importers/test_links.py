"""nccl-tests and nvbandwidth: what their JSON becomes, and what is refused.

The samples follow the tools' own writers: nccl-tests src/util.cu (version 1 of its JSON, 2025) and nvbandwidth
json_output.cpp (v0.8).
"""

import json

import pytest

from simulator.core import InputError
from simulator.hardware.importers.nccl_tests import NcclTests
from simulator.hardware.importers.nvbandwidth import NvBandwidth

LATENCY, BANDWIDTH = 20e-6, 300e9


def nccl(program="/opt/nccl-tests/build/all_reduce_perf", gpus=8, mpi=False, **changes):
    results = []
    for size in (8, 1024, 1 << 20, 1 << 24, 1 << 28):
        moved = 2 * (gpus - 1) / gpus * size
        time = 1e6 * (LATENCY + moved / BANDWIDTH)
        timed = {"time": time, "alg_bw": size / time / 1e3, "bus_bw": moved / time / 1e3, "nwrong": 0.0}
        results.append(
            {"size": size, "count": size // 4, "type": "float", "redop": "sum", "root": "    -1",
             "out_of_place": timed, "in_place": {**timed, "time": time * 0.98},
             "actual_iterations": 20, "experiment_name": ""}
        )  # fmt: skip
    device = {"rank": 0, "group": 0, "pid": 7, "hostname": "node", "device": 0, "device_hex": "0000:19:00",
              "device_info": "NVIDIA H100 80GB HBM3"}  # fmt: skip
    config = {"nthreads": 1, "ngpus": 1 if mpi else gpus, "minimum_bytes": 8, "maximum_bytes": 1 << 28,
              "step_factor": 2, "warmup_iters": 5, "iterations": 20, "aggregated_iterations": 1, "validation": 1,
              "graph": 0, "devices": [{**device, "rank": rank} for rank in range(gpus if mpi else 1)]}  # fmt: skip
    run = {"version": 1, "start_time": "2025-06-01 12:00:00", "args": [program, "-b", "8", "-e", "256M"], "env": [],
           "nccl_version": 22703, "config": config, "results": results,
           "out_of_bounds": {"count": 0, "okay": "true"},
           "average_bus_bandwidth": {"bandwidth": 120.0, "okay": "unchecked"}, "errors": [],
           "end_time": "2025-06-01 12:00:09"}  # fmt: skip
    return {**run, **changes}


def wrote(tmp_path, *runs):
    paths = []
    for index, run in enumerate(runs):
        path = tmp_path / f"run{index}.json"
        path.write_text(run if isinstance(run, str) else json.dumps(run))
        paths.append(str(path))
    return paths


def read(importer, tmp_path, *runs, known=None):
    return importer().read(wrote(tmp_path, *runs), "a test", known or {})


def test_sizes_are_bytes_and_times_microseconds(tmp_path):
    imported = read(NcclTests, tmp_path, nccl(gpus=2), nccl(gpus=8))
    (grid,) = imported.grids
    assert (grid.library, grid.operator) == ("nccl-2.27.3", "collective")
    assert grid.attributes == {"op": "all_reduce", "dtype": "float"}
    assert grid.axis("gpus").knots.tolist() == [2, 8]
    assert grid.at(2, 1 << 20) == pytest.approx(LATENCY + (1 << 20) / BANDWIDTH, rel=1e-6)
    section = imported.measured["allreduce"]
    assert section["most_gpus"] == 8
    assert float(section["latency"].removesuffix("us")) == pytest.approx(20, rel=0.01)
    assert float(section["bandwidth"].removesuffix("GB/s")) == pytest.approx(300, rel=0.01)
    assert "10 all-reduces (a test)" in imported.provenance["allreduce"]


def test_under_mpi_every_rank_is_listed(tmp_path):
    (grid,) = read(NcclTests, tmp_path, nccl(gpus=4, mpi=True)).grids
    assert grid.axis("gpus").knots.tolist() == [4]


def test_other_collectives_give_tables_and_no_all_reduce(tmp_path):
    imported = read(NcclTests, tmp_path, nccl("./all_gather_perf"), nccl("alltoall_perf"))
    assert {grid.attributes["op"] for grid in imported.grids} == {"all_gather", "alltoall"}
    assert not imported.measured


def test_a_node_without_peer_access_stays_one(tmp_path):
    known = {"allreduce": {"latency": "10us", "bandwidth": "16GB/s", "most_gpus": 2, "direct": False}}
    assert read(NcclTests, tmp_path, nccl(), known=known).measured["allreduce"]["direct"] is False


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (nccl(gpus=1), "nobody to talk to"),
        (nccl("sendrecv_perf"), "'sendrecv_perf' is not one we know"),
        (nccl(results=[]), "no results"),
        ({"version": 1}, "not a result of nccl-tests"),
        (nccl(nccl_version="new"), "not a result of nccl-tests"),
        ("[1]", "not a JSON object"),
        ('{"a": 1,}', "not JSON"),
        ("\x00", "not JSON"),
    ],
)
def test_what_is_no_result_of_nccl_tests(tmp_path, run, message):
    with pytest.raises(InputError, match=message) as error:
        read(NcclTests, tmp_path, run)
    assert "run0.json" in error.value.where


def test_wrong_results_and_host_times_are_refused(tmp_path):
    run = nccl()
    run["results"][1]["out_of_place"]["nwrong"] = 3.0
    with pytest.raises(InputError, match="3 wrong elements at 1024 bytes"):
        read(NcclTests, tmp_path, run)
    run = nccl()
    run["results"][0]["out_of_place"] = {"cpu_time": 5.0}
    with pytest.raises(InputError, match="times the host"):
        read(NcclTests, tmp_path, run)


@pytest.mark.parametrize(("code", "version"), [(22902, "2.29.2"), (22304, "2.23.4"), (20905, "2.9.5"), (2804, "2.8.4")])
def test_nccl_versions(tmp_path, code, version):
    assert read(NcclTests, tmp_path, nccl(nccl_version=code)).grids[0].library == f"nccl-{version}"


def bandwidth(to_gpu=55.6, to_host=52.1, between=390.0, status="Passed"):
    def test(name, matrix, status="Passed"):
        cells = [[f"{cell:.4g}" if cell else "N/A" for cell in row] for row in matrix]
        found = {"name": name, "status": status}
        if status != "Passed":
            return found
        return {**found, "bandwidth_description": "memcpy CE CPU(row) -> GPU(column) bandwidth (GB/s)",
                "bandwidth_matrix": cells, "sum": sum(map(sum, matrix))}  # fmt: skip

    pairs = [[0, between], [between, 0]]
    return {
        "nvbandwidth": {
            "CUDA Runtime Version": 12080, "Driver Version": "570.86.15", "git_version": "v0.8", "version": "v0.8",
            "GPU Device list": ["0: NVIDIA H100 80GB HBM3: (node)", "1: NVIDIA H100 80GB HBM3: (node)"],
            "testcases": [
                test("host_to_device_memcpy_ce", [[to_gpu, to_gpu]]),
                test("device_to_host_memcpy_ce", [[to_host, to_host]]),
                test("device_to_device_memcpy_write_ce", pairs, status),
            ],
        }
    }  # fmt: skip


def test_copies_between_gpus_far_faster_than_to_the_host_are_nvlink(tmp_path):
    links = read(NvBandwidth, tmp_path, bandwidth()).measured["links"]
    assert links == {"pcie": {"bandwidth": "52.1GB/s"}, "nvlink": {"bandwidth": "390GB/s"}}


def test_copies_between_gpus_as_fast_as_to_the_host_are_pcie_with_peer_access(tmp_path):
    links = read(NvBandwidth, tmp_path, bandwidth(between=50.0)).measured["links"]
    assert links == {"pcie": {"bandwidth": "52.1GB/s", "peer_access": True}}


def test_a_waived_test_means_no_peer_access(tmp_path):
    links = read(NvBandwidth, tmp_path, bandwidth(status="Waived")).measured["links"]
    assert links == {"pcie": {"bandwidth": "52.1GB/s", "peer_access": False}}


@pytest.mark.parametrize("run", [{"nvbandwidth": {"testcases": []}}, {"nvbandwidth": {"error": "no GPU"}}, {}, "{"])
def test_what_is_no_result_of_nvbandwidth(tmp_path, run):
    with pytest.raises(InputError):
        read(NvBandwidth, tmp_path, run)


def test_a_cell_that_is_no_number(tmp_path):
    run = bandwidth()
    run["nvbandwidth"]["testcases"][0]["bandwidth_matrix"] = [["fast"]]
    with pytest.raises(InputError, match="host_to_device_memcpy_ce"):
        read(NvBandwidth, tmp_path, run)
