"""How far a recorded run is from a profile: measured times over those the profile gives, operator by operator."""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from simulator.hardware.grid import Float
from simulator.hardware.importers.microbench import best_bandwidth, kernel_rows, small_rows
from simulator.hardware.profile import Profile
from simulator.hardware.recorded_run import RecordedRun
from simulator.hardware.tables import Tables

_SIZES = {"bfloat16": 2.0, "fp8": 1.0, "int8": 1.0}
_HEADS = ("kv_dtype", "attn_dtype", "head_dim", "window", "heads", "kv_heads")


def profile_of(run: RecordedRun, profiles: Iterable[Profile]) -> Profile | None:
    """Return the profile of the same GPU, judged by its model's name and its processors; None if there is none."""
    words = _words(run.gpu)
    if (model := next((word for word in words if any(c.isdigit() for c in word)), None)) is None:
        return None
    sms = run.machine.get("sms")
    alike = [one for one in profiles if model in _words(one.gpu) and (one.sms is None or sms in (None, one.sms))]
    return max(alike, key=lambda one: len(set(words) & set(_words(one.gpu))), default=None)


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.split(r"[^A-Za-z0-9]+", name) if word]


def ceilings(run: RecordedRun, profile: Profile | None) -> list[dict[str, Any]]:
    """Return the highest rates measured, and the profile's: rows of ``what``, ``measured``, ``profile``, ``ratio``."""
    rows: list[dict[str, Any]] = []

    def add(what: str, measured: float | None, stated: float | None, unit: str) -> None:
        if measured is not None:
            ratio = measured / stated if stated else None
            rows.append({"what": what, "measured": measured, "profile": stated, "ratio": ratio, "unit": unit})

    add("memory bandwidth", best_bandwidth(run), profile.memory.bandwidth if profile else None, "B/s")
    products = kernel_rows(run, "gemm")
    for dtype in _SIZES:
        own = products[products["dtype"] == dtype] if len(products) else products
        if len(own):
            rate = float((2.0 * own.m * own.n * own.k / own.seconds).max())
            add(f"{dtype} matrix products", rate, profile.peak.get(dtype) if profile else None, "FLOP/s")
    copies = run.rows("link", "cold")
    for link in ("host_to_device", "device_to_host", "peer"):
        own = copies[copies.link == link] if len(copies) else copies
        if len(own):
            known = (profile.links.nvlink if link == "peer" else profile.links.pcie) if profile else None
            stated = known.bandwidth if known else None
            add(link.replace("_", " "), float((own["size"] / own.seconds).max()), stated, "B/s")
    return rows


def compare_run(run: RecordedRun, profile: Profile, *, rooflines_only: bool = False) -> list[dict[str, Any]]:
    """Return how measured times compare with a profile's: a row for each operator, type and what the profile's rest on.

    ``ratio`` is the median of measured over the profile's, ``low`` and ``high`` the 10th and 90th percentile over
    ``points``. ``rests_on`` names the profile's table or its roofline; a point counts under the table that covers it,
    unless ``rooflines_only``.
    """
    found: list[dict[str, Any]] = []
    for operator, dtype, rests_on, ratios in _ratios(run, profile, Tables() if rooflines_only else profile.tables):
        ratios = ratios[np.isfinite(ratios)]
        if len(ratios):
            low, median, high = np.quantile(ratios, [0.1, 0.5, 0.9])
            row = {"operator": operator, "type": dtype, "rests_on": rests_on, "points": len(ratios)}
            found.append(row | {"ratio": float(median), "low": float(low), "high": float(high)})
    return found


def _ratios(run: RecordedRun, profile: Profile, tables: Tables) -> Iterator[tuple[str, str, str, Float]]:
    products = kernel_rows(run, "gemm")
    for dtype, rows in products.groupby("dtype") if len(products) else ():
        yield from _products(profile, tables, str(dtype), rows)
    for operator in ("prefill_attention", "decode_attention"):
        rows = kernel_rows(run, operator)
        if len(rows):
            yield from _attention(profile, tables, operator, rows)
    small = small_rows(run)
    if len(small):
        given = profile.elementwise.launch + _float(small.bytes) / profile.elementwise.bandwidth
        yield "small operators", "bfloat16", "elementwise", _float(small.seconds) / given
    reduces = kernel_rows(run, "allreduce")
    if len(reduces) and (link := profile.allreduce) is not None:
        gpus = _float(reduces.gpus)
        given = link.latency + 2 * (gpus - 1) / gpus * _float(reduces.bytes) / link.bandwidth
        yield "all-reduce", "bfloat16", "allreduce", _float(reduces.seconds) / given


def _products(profile: Profile, tables: Tables, dtype: str, rows: Any) -> Iterator[tuple[str, str, str, Float]]:
    n, k, m, seconds = (_float(rows[name]) for name in ("n", "k", "m", "seconds"))
    library = _preferred(tables, "gemm")
    grid = next(tables.find(library, "gemm", dtype=dtype), None)
    inside = np.zeros(len(m), bool) if grid is None else grid.covers(n, k, m)
    if grid is not None:
        yield "gemm", dtype, library, seconds[inside] / grid.at(n[inside], k[inside], m[inside])
    roofline = profile.roofline(dtype)
    if roofline is not None and not inside.all():
        each, out = _SIZES.get(dtype, 2.0), ~inside
        given = roofline.table(2 * m * n * k, each * (m * k + n * k) + 2 * m * n)
        yield "gemm", dtype, "roofline", seconds[out] / given[out]


def _attention(profile: Profile, tables: Tables, operator: str, rows: Any) -> Iterator[tuple[str, str, str, Float]]:
    prompts = operator == "prefill_attention"
    length = "new" if prompts else "context"
    library = _preferred(tables, operator)
    tabled: list[Float] = []
    rest: list[Any] = []
    heads = [name for name in _HEADS if name in rows and (prompts or name != "attn_dtype")]
    for values, own in rows.groupby(heads):
        grid = next(tables.find(library, operator, **dict(zip(heads, values, strict=True))), None)
        past = own.past if "past" in own else 0 * own[length]
        covered = np.zeros(len(own), bool)
        if grid is not None:
            covered = grid.covers(own.batch, own[length]) & (past == 0).to_numpy()
            inside = own[covered]
            tabled.append(_float(inside.seconds) / grid.at(inside.batch, inside[length]))
        rest.append(own[~covered])
    if tabled:
        yield operator, "bfloat16", library, np.concatenate(tabled)
    import pandas as pd

    left = pd.concat(rest)
    if len(left):
        yield operator, "bfloat16", "roofline", _float(left.seconds) / _attention_roofline(profile, operator, left)


def _attention_roofline(profile: Profile, operator: str, rows: Any) -> Float:
    batch, heads, kv, dim = (_float(rows[name]) for name in ("batch", "heads", "kv_heads", "head_dim"))
    if operator == "decode_attention":
        tokens = batch * _float(rows.context)
        return profile.decode_attention.table(4 * tokens * heads * dim, 4 * tokens * kv * dim)
    new, past = _float(rows.new), _float(rows.past)
    flops = 4 * batch * heads * dim * new * (past + new / 2)
    return profile.prefill_attention.table(flops, 4 * batch * dim * (heads * new + kv * (past + new)))


def _preferred(tables: Tables, operator: str) -> str:
    """Return the library whose table of an operator stands for the profile: vLLM's newest, else any; "" without one."""
    libraries = [name for name in tables.libraries() if operator in tables.operators(name)]
    return max(libraries, key=lambda name: (name.startswith("vllm"), name), default="")


def _float(column: Any) -> Float:
    return np.asarray(column, np.float64)
