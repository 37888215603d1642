"""Our own microbenchmarks: the JSON lines that ``tokenyard calibrate gpu`` records (docs/calibration.md)."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from simulator.core.quantity import parse
from simulator.hardware.fit_roofline import Most, as_yaml, fit_allreduce, fit_decode, fit_gemm, fit_prefill
from simulator.hardware.importers.aiconfigurator_tables import TABLES
from simulator.hardware.importers.base import IMPORTERS, Imported, Importer, most_of
from simulator.hardware.importers.measurements import Measured, to_grids
from simulator.hardware.recorded_run import RecordedRun, read_run

_Fit = Callable[[Any, Most], dict[str, Any] | None]
_BLOCK = 16  # tokens of a KV block: the default of vLLM, whose tables the others stand beside
# PCIe carries about as much between GPUs as to the host; NVLink several times that.
_NVLINK = 2.0


@IMPORTERS.register("microbench")
class Microbench(Importer):
    """Kernels, memory, links and power as Tokenyard's own harness measures them."""

    source = "Tokenyard's microbenchmarks"

    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read the files of one run; InputError where they are of several machines or nothing came of it."""
        run = read_run(paths)
        what = f"({source}; {describe(run)})"
        imported = Imported()
        _machine(run, what, known, imported)
        said = {**imported.stated, **known, **imported.measured}
        measured = Measured()
        for operator in ("gemm", "prefill_attention", "decode_attention", "allreduce"):
            if len(rows := kernel_rows(run, operator)):
                layout = TABLES[_TABLE[operator]].layout
                plain = rows[rows.past == 0] if "past" in rows else rows
                measured.add(to_grids(plain.rename(columns={"library": "kernel"}), library(run), layout))
        imported.grids, imported.errors = measured.grids, measured.errors
        _kernels(run, said, what, imported)
        _moved(run, what, known, imported)
        return imported


_TABLE = {
    "gemm": "gemm",
    "prefill_attention": "context_attention",
    "decode_attention": "generation_attention",
    "allreduce": "custom_allreduce",
}


def library(run: RecordedRun) -> str:
    """Return the library under which a run's kernels stand in a profile's tables, such as ``microbench-2026.11.22``."""
    return f"microbench-{run.date.replace('-', '.')}"


def describe(run: RecordedRun) -> str:
    """Return what to know of a run beside its numbers: device, driver, date, clocks, noise."""
    machine = run.machine
    clocks = [int(each["sm_mhz"]) for each in run.results if each.get("sm_mhz")]
    noise = sorted(each["noise"] for each in run.results if each.get("noise") is not None)
    words = [run.gpu, f"driver {machine.get('driver', 'unknown')}", str(machine["date"])]
    if clocks:
        words.append(f"SM clock {min(clocks)} to {max(clocks)} MHz, not set")
    if noise:
        words.append(f"median noise {noise[len(noise) // 2]:.1%}")
    return ", ".join(words)


def kernel_rows(run: RecordedRun, operator: str) -> Any:
    """Return what to take for an operator's times within an engine: a data frame, the fastest library of each point.

    Weights and the KV cache come from memory (cold); activations of a prompt were just written (hot). All-reduces were
    timed within graphs. Pages are those of 16 tokens, where pages were measured.
    """
    hot = operator in ("prefill_attention", "allreduce", "small")
    rows = run.rows(operator, "hot" if hot else "cold")
    if not len(rows):
        return rows
    rows = rows if hot else run.within_a_graph(rows)
    if "block" in rows:
        rows = rows[rows.block.isna() | (rows.block == _BLOCK)].drop(columns="block")
    point = [name for name in rows if name not in ("library", "noise", "seconds")]
    return rows.loc[rows.groupby(point, dropna=False).seconds.idxmin()].reset_index(drop=True)


def _machine(run: RecordedRun, what: str, known: Mapping[str, Any], imported: Imported) -> None:
    """Take over what the driver says: memory, cache, processors, power."""
    machine = run.machine
    stated: dict[str, Any] = {"gpu": run.gpu}
    if "sms" in machine:
        stated["sms"] = int(machine["sms"])
        imported.provenance["sms"] = f"as the driver reports it {what}"
    memory = dict(known.get("memory") or {})
    memory["capacity"] = f"{machine['memory_bytes'] / 2**30:.6g}GiB"
    text = "capacity as the driver reports it"
    if "bandwidth" not in memory and machine.get("memory_bandwidth"):
        memory["bandwidth"] = f"{machine['memory_bandwidth'] / 1e9:.4g}GB/s"
        text += ", bandwidth from its memory clock and bus width"
    elif "bandwidth" not in memory and (best := best_bandwidth(run)) is not None:
        memory["bandwidth"] = f"{best / 1e9:.4g}GB/s"
        text += ", bandwidth the highest measured"
    else:
        text += "; bandwidth and L2 as before"
    if "l2" not in memory and machine.get("l2_bytes"):
        memory["l2"] = f"{machine['l2_bytes'] / 1e6:.4g}MB"
    imported.stated |= stated
    if "bandwidth" in memory:
        imported.measured["memory"], imported.provenance["memory"] = memory, f"{text} {what}"
    idle = next((each for each in run.results if each["op"] == "power" and each["point"]["load"] == "idle"), None)
    tdp = (known.get("power") or {}).get("tdp") or (
        f"{machine['most_watts']:.4g}W" if machine.get("most_watts") else None
    )
    if idle is not None and tdp is not None:
        imported.measured["power"] = {"tdp": tdp, "idle": f"{idle['watts']:.4g}W"}
        imported.provenance["power"] = f"idle as measured {what}; tdp: datasheet, or the power limit in force"


def best_bandwidth(run: RecordedRun) -> float | None:
    """Return the highest memory bandwidth (B/s) of buffers that caches do not hold, None if it was not measured."""
    rows = run.rows("memory", "cold")
    if not len(rows):
        return None
    rows = rows[rows["size"] == rows["size"].max()]
    return float((rows["size"] * (1 + (rows.access == "copy")) / rows.seconds).max())


def _kernels(run: RecordedRun, said: Mapping[str, Any], what: str, imported: Imported) -> None:
    """Fit rooflines to matrix products and attention, below the rates that the profile states (``said``)."""

    def fitted(operator: str, fit: _Fit, dtype: str, kind: str) -> tuple[dict[str, Any], str] | None:
        rows = kernel_rows(run, operator)
        found = fit(rows, most_of(said, dtype)) if len(rows) else None
        if found is None:
            return None
        libraries = ", ".join(sorted(set(rows.library)))
        return as_yaml(
            found
        ), f"fit to {found['samples']} {kind} of {libraries} {what}, median error {found['error']:.1%}"

    for section, operator, fit, kind in (
        ("gemm", "gemm", partial(fit_gemm, "bfloat16"), "bf16 matrix products"),
        ("prefill_attention", "prefill_attention", fit_prefill, "bf16 attentions of prompts"),
        ("decode_attention", "decode_attention", fit_decode, "bf16 attentions of decodes"),
    ):
        if (found := fitted(operator, fit, "bfloat16", kind)) is not None:
            imported.measured[section], imported.provenance[section] = found
    others: dict[str, tuple[dict[str, Any], str]] = {}
    for dtype in ("fp8", "int8"):
        if (found := fitted("gemm", partial(fit_gemm, dtype), dtype, f"{dtype} matrix products")) is not None:
            others[dtype] = found
    if others:
        imported.measured["rooflines"] = {dtype: section for dtype, (section, _) in others.items()}
        imported.provenance["rooflines"] = ". ".join(f"{dtype}: {text}" for dtype, (_, text) in others.items())


def _moved(run: RecordedRun, what: str, known: Mapping[str, Any], imported: Imported) -> None:
    """Fit what is a latency and a bandwidth: small operators, links, all-reduces."""
    small = small_rows(run)
    if len(small) > 2:
        found = fit_latency(small)
        imported.measured["elementwise"] = {"launch": found["latency"], "bandwidth": found["bandwidth"]}
        imported.provenance["elementwise"] = _fitted(found, "small operators within graphs", what)
    links: dict[str, Any] = {name: dict(link) for name, link in (known.get("links") or {}).items()}
    copies = run.rows("link", "cold")
    by_link = (
        {name: fit_latency(rows.assign(bytes=rows["size"])) for name, rows in copies.groupby("link")}
        if len(copies)
        else {}
    )
    host = [by_link[name] for name in ("host_to_device", "device_to_host") if name in by_link]
    if host:
        slower = min(host, key=lambda fit: float(parse(fit["bandwidth"], "bandwidth")))
        links["pcie"] = {**links.get("pcie", {}), "bandwidth": slower["bandwidth"], "latency": slower["latency"]}
        imported.provenance["links"] = _fitted(slower, "copies between host and GPU, the slower direction", what)
    if host and (peer := by_link.get("peer")) is not None:
        fast = parse(peer["bandwidth"], "bandwidth") > _NVLINK * parse(links["pcie"]["bandwidth"], "bandwidth")
        if fast:
            links["nvlink"] = {"bandwidth": peer["bandwidth"], "latency": peer["latency"]}
        else:
            links["pcie"]["peer_access"] = True
    if host and "peer_through_host" in by_link:
        links["pcie"]["peer_access"] = False
    if host:
        imported.measured["links"] = links
    reduces = kernel_rows(run, "allreduce")
    if len(reduces):
        reduced = as_yaml(fit_allreduce(reduces))
        imported.provenance["allreduce"] = _fitted(reduced, "all-reduces", what)
        imported.measured["allreduce"] = {key: reduced[key] for key in ("latency", "bandwidth", "most_gpus")}


def small_rows(run: RecordedRun) -> Any:
    """Return the memory-bound small operators within graphs: a data frame with the ``bytes`` each moves."""
    rows = kernel_rows(run, "small")
    if not len(rows):
        return rows
    # Elements read and written for each of a row, 2 bytes each (docs/calibration.md).
    moved = rows.part.map({"add_rms_norm": 4, "silu_mul": 3, "rotary": 2})
    return rows.assign(bytes=2 * moved * rows.tokens * rows.width)


def fit_latency(rows: Any) -> dict[str, Any]:
    """Return latency and bandwidth of operations over ``bytes`` as a profile writes them, and the fit's error."""
    # An all-reduce over two GPUs moves its bytes once: the same curve.
    found = as_yaml(fit_allreduce(rows.assign(gpus=2)))
    del found["most_gpus"]
    return found


def _fitted(found: Mapping[str, Any], kind: str, what: str) -> str:
    return f"fit to {found['samples']} {kind} {what}, median error {found['error']:.1%}"
