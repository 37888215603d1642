"""A profile's figures and tables as rows to print."""

from typing import Any

from simulator.hardware.profile import Profile


def figures(profile: Profile) -> list[dict[str, str]]:
    """Return what the YAML says in short: figure, value, and the section its source stands under."""
    memory, rows = profile.memory, []

    def row(figure: str, value: str, source: str) -> None:
        rows.append({"figure": figure, "value": value, "source": profile.provenance.get(source, "")})

    row("GPU", profile.gpu + (f", {profile.sms} multiprocessors" if profile.sms else ""), "sms")
    row("memory", f"{memory.capacity / 2**30:.2f} GiB, {memory.bandwidth / 1e9:.0f} GB/s", "memory")
    if profile.peak:
        row("peak", ", ".join(f"{dtype} {rate / 1e12:.0f} TFLOP/s" for dtype, rate in profile.peak.items()), "peak")
    for name in ("gemm", "prefill_attention", "decode_attention"):
        line = getattr(profile, name)
        rates = f"{line.compute / 1e12:.0f} TFLOP/s, {line.bandwidth / 1e9:.0f} GB/s, launch {line.launch * 1e6:.1f} us"
        row(f"achieved, {name}", rates, name)
    for dtype, line in profile.rooflines.items():
        rates = f"{line.compute / 1e12:.0f} TFLOP/s, {line.bandwidth / 1e9:.0f} GB/s, launch {line.launch * 1e6:.1f} us"
        row(f"achieved, {dtype} gemm", rates, "rooflines")
    if (link := profile.allreduce) is not None:
        direct = "" if link.direct else ", no peer access"
        row("all-reduce", f"{link.bandwidth / 1e9:.1f} GB/s, {link.latency * 1e6:.1f} us{direct}", "allreduce")
    for name in ("nvlink", "pcie", "infiniband"):
        if (one := getattr(profile.links, name)) is not None:
            row(name, f"{one.bandwidth / 1e9:.0f} GB/s", "links")
    if profile.power is not None:
        row("power", f"{profile.power.tdp:.0f} W", "power")
    if profile.price is not None:
        price = profile.price
        row("price", f"{price.per_hour} {price.currency}/h ({price.source}, {price.date})", "price")
    return rows


def operators(profile: Profile) -> list[dict[str, Any]]:
    """Return a row for each group of grids: library, operator, type, how many, and how well they reproduce samples.

    ``kept`` says how many knots of the axes were kept of those measured, ``median`` and ``p95`` are the relative error
    of interpolating all ``samples``.
    """
    rows = []
    for entry in profile.tables.about.get("errors", []):
        attributes = {name: entry[name] for name in ("dtype", "kv_dtype", "attn_dtype") if name in entry}
        grids = [
            row
            for row in profile.tables.measured(entry["library"], entry["operator"])
            if all(row.get(name) == value for name, value in attributes.items())
        ]
        kept, measured = zip(*(count.split(" of ") for count in entry["knots"].values()), strict=True)
        types = [text + " cache" if name == "kv_dtype" else text for name, text in attributes.items()]
        rows.append(
            {
                "library": entry["library"],
                "operator": entry["operator"],
                "type": ", ".join(types),
                "grids": len(grids),
                "samples": entry["samples"],
                "median": entry["median"],
                "p95": entry["p95"],
                "kept": "x".join(kept) if kept == measured else f"{'x'.join(kept)} of {'x'.join(measured)}",
                "source": entry.get("source", ""),
            }
        )
    return rows
