import pytest
from microbench import synthetic

from simulator.core import InputError
from simulator.hardware.import_profile import import_into


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("import")
    record = synthetic.write(folder / "run.jsonl")
    return import_into(folder / "own.yaml", "microbench", [str(record)])


def test_rooflines_are_those_the_times_were_computed_from(imported):
    profile = imported.profile
    for section in (profile.gemm, profile.prefill_attention, profile.decode_attention, profile.roofline("fp8")):
        assert section.error < 0.01
    assert profile.gemm.compute == pytest.approx(synthetic.COMPUTE, rel=0.02)
    assert profile.gemm.bandwidth == pytest.approx(synthetic.BANDWIDTH, rel=0.02)
    assert profile.gemm.launch == pytest.approx(synthetic.LAUNCH, rel=0.05)
    assert profile.roofline("fp8").compute == pytest.approx(2 * synthetic.COMPUTE, rel=0.02)
    assert profile.prefill_attention.compute == pytest.approx(synthetic.COMPUTE, rel=0.02)
    assert profile.decode_attention.bandwidth == pytest.approx(synthetic.BANDWIDTH, rel=0.02)


def test_the_rest_of_a_profile(imported):
    profile = imported.profile
    assert (profile.gpu, profile.sms) == (synthetic.NAME, 100)
    assert profile.memory.capacity == pytest.approx(80 * 2**30)
    assert profile.memory.bandwidth == pytest.approx(3.2e12)
    assert profile.elementwise.launch == pytest.approx(2e-6, rel=0.01)
    assert profile.elementwise.bandwidth == pytest.approx(2.5e12, rel=0.01)
    # The slower direction.
    assert profile.links.pcie.bandwidth == pytest.approx(synthetic.LINK_BANDWIDTH / 1.25, rel=0.02)
    assert profile.links.pcie.latency == pytest.approx(synthetic.LINK_LATENCY, rel=0.02)
    assert (profile.power.tdp, profile.power.idle) == (600.0, 75.0)
    for section in ("gemm", "prefill_attention", "memory", "links", "power", "elementwise", "rooflines"):
        assert f"{synthetic.NAME}, driver 1.0, 2026-01-02T03:04:05Z" in profile.provenance[section]
    assert "SM clock 1500 to 1500 MHz" in profile.provenance["gemm"]


def test_tables_hold_times_within_graphs_and_pages_of_16(imported):
    tables = imported.profile.tables
    assert tables.libraries() == ["microbench-2026.01.02"]
    grid = next(tables.find("microbench-2026.01.02", "gemm", dtype="bfloat16"))
    flops, size = 2 * 64 * 8192 * 4096, 2 * (64 * 4096 + 4096 * 8192 + 64 * 8192)
    assert float(grid.at(8192.0, 4096.0, 64.0)) == pytest.approx(synthetic.kernel(flops, size), rel=1e-3)
    grid = next(tables.find("microbench-2026.01.02", "decode_attention", heads=8, kv_heads=1))
    flops, size = 4 * 16 * 2048 * 8 * 128, 512 * 16 * 2048
    assert float(grid.at(16.0, 2048.0)) == pytest.approx(synthetic.kernel(flops, size), rel=0.02)


def test_of_several_libraries_the_fastest_counts(tmp_path):
    slow = list(synthetic.attention(3.0, "own-kernels"))
    record = synthetic.write(tmp_path / "run.jsonl", [*synthetic.lines(), *slow])
    profile = import_into(tmp_path / "own.yaml", "microbench", [str(record)]).profile
    assert profile.prefill_attention.compute == pytest.approx(synthetic.COMPUTE, rel=0.02)
    assert "own-kernels" not in profile.provenance["prefill_attention"]


def test_an_old_profile_keeps_what_was_not_measured(tmp_path):
    path = tmp_path / "own.yaml"
    import_into(path, "microbench", [str(synthetic.write(tmp_path / "run.jsonl"))])
    text = path.read_text().replace("tdp: 600W", "tdp: 700W").replace("bandwidth: 3200GB/s", "bandwidth: 3350GB/s")
    path.write_text(text.replace("links:\n", "links:\n  nvlink:\n    bandwidth: 450GB/s\n"))
    only = [synthetic.machine(memory_bytes=79 * 2**30), *synthetic.rest()]
    written = import_into(path, "microbench", [str(synthetic.write(tmp_path / "again.jsonl", only))])
    assert written.sections == ["elementwise", "links", "memory", "power"]
    profile = written.profile
    assert profile.power.tdp == 700.0
    assert profile.memory.bandwidth == pytest.approx(3350e9)
    assert profile.memory.capacity == pytest.approx(79 * 2**30)
    assert profile.links.nvlink.bandwidth == pytest.approx(450e9)
    assert profile.gemm.samples > 0


def test_peers_over_nvlink_and_through_the_host(tmp_path):
    def links(peer, seconds):
        sizes = (4096, 2**20, 2**28)
        more = [synthetic.result("link", {"link": peer, "size": s}, 5e-6 + s * seconds) for s in sizes]
        record = synthetic.write(tmp_path / "run.jsonl", [*synthetic.lines(), *more])
        (tmp_path / "own.yaml").unlink(missing_ok=True)
        return import_into(tmp_path / "own.yaml", "microbench", [str(record)]).profile.links

    fast = links("peer", 1 / 400e9)
    assert fast.nvlink.bandwidth == pytest.approx(400e9, rel=0.02)
    slow = links("peer", 1 / 45e9)
    assert (slow.nvlink, slow.pcie.peer_access) == (None, True)
    assert links("peer_through_host", 1 / 20e9).pcie.peer_access is False


def test_all_reduces_become_a_link_and_a_table(tmp_path):
    def seconds(gpus, size):
        return 9e-6 + 2 * (gpus - 1) / gpus * size / 200e9

    some = [
        synthetic.result("allreduce", {"dtype": "bfloat16", "graph": 1, "gpus": gpus, "bytes": size},
                         seconds(gpus, size), l2="hot")
        for gpus in (2, 4) for size in (4096, 65536, 2**20, 2**24, 2**28)
    ]  # fmt: skip
    record = synthetic.write(tmp_path / "run.jsonl", [*synthetic.lines(), *some])
    profile = import_into(tmp_path / "own.yaml", "microbench", [str(record)]).profile
    assert profile.allreduce.latency == pytest.approx(9e-6, rel=0.01)
    assert profile.allreduce.bandwidth == pytest.approx(200e9, rel=0.01)
    assert profile.allreduce.most_gpus == 4
    grid = next(profile.tables.find("microbench-2026.01.02", "allreduce", graph=1))
    assert float(grid.at(4.0, 65536.0)) == pytest.approx(seconds(4, 65536), rel=0.01)


def test_a_run_too_short_for_a_profile_says_so(tmp_path):
    record = synthetic.write(tmp_path / "run.jsonl", [synthetic.machine(), *synthetic.rest()])
    with pytest.raises(InputError, match="this would not be a profile"):
        import_into(tmp_path / "own.yaml", "microbench", [str(record)])
    assert not (tmp_path / "own.yaml").exists()
