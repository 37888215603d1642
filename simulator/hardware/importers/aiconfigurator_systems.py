"""Systems of the aiconfigurator package: where their tables are, and what their files state of the datasheet."""

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from simulator.core import InputError
from simulator.core.quantity import parse
from simulator.core.yaml_source import read_yaml

PACKAGE = "aiconfigurator_core"
# Products in blocks were timed with launches that a relative's graphs hide; by tensor they read and multiply as much.
_SCALED_TYPES = ("fp8", "nvfp4")


class System(NamedTuple):
    """A folder of tables (none: the package only estimates this GPU) and the file of its figures, if there is one."""

    tables: Path | None
    figures: Path | None


def locate(path: str) -> System:
    """Return a folder of tables, or the package's system of a name; InputError says which there are."""
    folder = Path(path)
    if folder.is_dir():
        beside = (folder / "system.yaml", folder.parent / "system.yaml")
        return System(folder, next((at for at in beside if at.exists()), None))
    try:
        systems = Path(str(resources.files(PACKAGE))) / "systems"
    except ModuleNotFoundError:
        hint = "give a folder, or install the tables: pip install 'tokenyard[aiconfigurator]'"
        raise InputError("no such folder, and aiconfigurator-core is not installed", where=path, hint=hint) from None
    folder = systems / "data" / path
    if not folder.is_dir():
        known = sorted(at.name for at in (systems / "data").iterdir() if at.is_dir())
        measured = ", ".join(name for name in known if _measured(systems, name))
        rest = ", ".join(name for name in known if not _measured(systems, name))
        hint = f"known, with tables: {measured}" + (f"; estimated from a relative: {rest}" if rest else "")
        raise InputError("neither a folder nor a system of aiconfigurator-core", where=path, hint=hint)
    figures = systems / f"{path}.yaml"
    return System(folder if _measured(systems, path) else None, figures if figures.exists() else None)


def relative(figures: Path) -> str:
    """Return the measured system of the same architecture, that of the same chip first; InputError if there is none."""
    systems, own = figures.parent, _architecture(figures)
    alike = [
        path.stem
        for path in sorted(systems.glob("*.yaml"))
        if path != figures and _measured(systems, path.stem) and own is not None and _architecture(path) == own
    ]
    if not alike:
        raise InputError("no kernel tables, and no GPU of its architecture was measured", where=figures.stem)
    chip = figures.stem.partition("_")[0]
    return next((name for name in alike if name.partition("_")[0] == chip), alike[0])


def scaled(fits: Mapping[str, Any], theirs: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Return a relative's rooflines by the ratio of both datasheets: FLOP/s by type, bytes/s; launches as they are."""
    memory = _ratio(theirs["memory"]["bandwidth"], own["memory"]["bandwidth"], "bandwidth")

    def one(fit: Mapping[str, Any], dtype: str) -> dict[str, Any]:
        compute = _ratio(theirs["peak"][dtype], own["peak"][dtype], "compute")
        return {
            "launch": fit["launch"],
            "compute": f"{parse(fit['compute'], 'compute') * compute / 1e12:.4g}TFLOP/s",
            "bandwidth": f"{parse(fit['bandwidth'], 'bandwidth') * memory / 1e9:.4g}GB/s",
            "blend": fit["blend"],
        }

    sections: dict[str, Any] = {
        name: one(fits[name], "bfloat16") for name in ("gemm", "prefill_attention", "decode_attention") if name in fits
    }
    lines = {
        dtype: one(fit, dtype)
        for dtype, fit in fits.get("rooflines", {}).items()
        if dtype in _SCALED_TYPES and dtype in own["peak"]
    }
    return {**sections, "rooflines": lines} if lines else sections


def datasheet(path: Path) -> dict[str, Any]:
    """Return what a system file states, as sections of a profile."""
    system = read_yaml(path).value
    gpu, node = system.get("gpu", {}), system.get("node", {})
    stated: dict[str, Any] = {}
    if {"mem_capacity", "mem_bw"} <= gpu.keys():
        stated["memory"] = {
            "capacity": f"{float(gpu['mem_capacity']) / 2**30:.6g}GiB",
            "bandwidth": f"{float(gpu['mem_bw']) / 1e9:.6g}GB/s",
        }
    kinds = (("bfloat16", "bfloat16"), ("fp8", "fp8"), ("int8", "int8"), ("nvfp4", "fp4"))
    rates = {ours: gpu[f"{theirs}_tc_flops"] for ours, theirs in kinds if f"{theirs}_tc_flops" in gpu}
    if rates:
        stated["peak"] = {dtype: f"{float(rate) / 1e12:.6g}TFLOP/s" for dtype, rate in rates.items()}
    if "power" in gpu:
        stated["power"] = {"tdp": f"{float(gpu['power']):.6g}W"}
    names = (("nvlink", "intra_node_bw"), ("pcie", "pcie_bw"), ("infiniband", "inter_node_bw"))
    links = {link: {"bandwidth": f"{float(node[key]) / 1e9:.6g}GB/s"} for link, key in names if key in node}
    # Without NVLink the figure within a node is PCIe's, at most.
    if "nvlink" in links and "pcie" in links and float(node["intra_node_bw"]) <= float(node["pcie_bw"]):
        links.pop("nvlink")
    if links:
        stated["links"] = links
    return stated


def _measured(systems: Path, name: str) -> bool:
    return any((systems / "data" / name).rglob("*_perf.*"))


def _architecture(figures: Path) -> Any:
    return read_yaml(figures).value.get("gpu", {}).get("sm_version")


def _ratio(theirs: str, own: str, kind: Any) -> float:
    return float(parse(own, kind) / parse(theirs, kind))
