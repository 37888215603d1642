"""The twin's entry point: ``python torch_twin --out FILE.jsonl [--quick] [--only SUITE,...] [--device cpu]``."""

import argparse
import platform
import sys
import time
from pathlib import Path
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    sys.exit("PyTorch is not installed for this Python: pip install torch")

import attention
import operators
from bench import Bench
from nvml import Nvml
from records import SCHEMA, Records, WrongFile

_SUITES = {
    "launch": operators.measure_launches,
    "memory": operators.measure_memory,
    "small": operators.measure_small,
    "links": operators.measure_links,
    "power": operators.measure_power,
    "gemm": operators.measure_gemm,
    "decode": attention.measure_decode,
    "prefill": attention.measure_prefill,
}


def main() -> int:
    """Measure, and return the exit code: 0 done, 1 no GPU or cut short, 2 bad options or a wrong file."""
    parser = argparse.ArgumentParser(prog="torch_twin", description="The harness's measurements through PyTorch.")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line; goes on where it ended")
    parser.add_argument("--quick", action="store_true", help="fewer points and samples")
    parser.add_argument("--only", default="", help=f"of {','.join(_SUITES)}")
    parser.add_argument("--device", choices=["gpu", "cpu"], default="gpu", help="cpu: tiny shapes on this machine")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(_SUITES)
    if unknown := [name for name in wanted if name not in _SUITES]:
        parser.error(f"no measurement is called '{unknown[0]}'")
    on_gpu = options.device == "gpu"
    if on_gpu and not torch.cuda.is_available():
        sys.stderr.write("no GPU can be used: PyTorch sees none (--device cpu measures this machine's processor)\n")
        return 1
    device = torch.device("cuda:0" if on_gpu else "cpu")
    torch.manual_seed(1)
    if not on_gpu:
        torch.set_num_threads(1)
    properties = torch.cuda.get_device_properties(device) if on_gpu else None
    nvml = Nvml(_bus_id(properties))
    machine = _machine(properties, nvml, options.quick)
    try:
        records = Records(options.out, machine["same"])
    except WrongFile as error:
        sys.stderr.write(f"{error}\n")
        return 2
    if records.empty:
        records.write(machine)
    bench = Bench(device, records, nvml, options.quick, tiny=not on_gpu)
    for name in wanted:
        bench.say(name)
        _SUITES[name](bench)
    end = {"kind": "end", "harness": "torch", "date": _now(), "results": records.results, "errors": records.errors}
    records.write(end)
    bench.say(f"{records.results} measured, {records.errors} errors: {options.out}")
    return 0


def _bus_id(gpu: Any) -> str | None:
    return None if gpu is None else f"{gpu.pci_domain_id:08x}:{gpu.pci_bus_id:02x}:{gpu.pci_device_id:02x}.0"


def _machine(gpu: Any, nvml: Nvml, quick: bool) -> dict[str, Any]:
    """Return the first line of a file: what was measured, with what."""
    name, driver = (gpu.name, nvml.driver()) if gpu else (_processor(), "none")
    record = {"kind": "machine", "tokenyard_microbench": SCHEMA, "same": f"{name}, driver {driver}"}
    record |= {"harness": "torch", "date": _now(), "quick": quick, "device": "gpu" if gpu else "cpu", "gpu": name}
    record |= {"torch": torch.__version__, "driver": driver}
    if gpu is None:
        return record | {"gpus": 0, "threads": torch.get_num_threads(), "memory_bytes": _host_memory()}
    free, total = torch.cuda.mem_get_info()
    record |= {"gpus": torch.cuda.device_count(), "compute_capability": f"{gpu.major}.{gpu.minor}"}
    record |= {"sms": gpu.multi_processor_count, "memory_bytes": total, "memory_free_bytes": free}
    record |= {"l2_bytes": gpu.L2_cache_size, "cuda_runtime": torch.version.cuda, "most_watts": nvml.most_watts()}
    # Two transfers a clock; older PyTorch does not tell.
    if hasattr(gpu, "memory_clock_rate") and hasattr(gpu, "memory_bus_width"):
        record["memory_bandwidth"] = 2e3 * gpu.memory_clock_rate * gpu.memory_bus_width / 8
    record |= {"watts": nvml.watts(), "celsius": nvml.celsius(), "most_sm_mhz": nvml.most_sm_mhz()}
    return record | {"sm_mhz": nvml.sm_mhz(), "memory_mhz": nvml.memory_mhz()}


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    lines = about.read_text().splitlines() if about.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _host_memory() -> int:
    import os

    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


if __name__ == "__main__":
    sys.exit(main())
