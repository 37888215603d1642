"""docs/cost.md: its worked example is what the tables give, and it names every constant of an engine."""

import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from support.batches import Batch, chunks, decode_ps, mixed_ps
from support.gpus import host

from simulator.core.units import PS_PER_S
from simulator.cost.iteration import IterationCost
from simulator.cost.kernel_terms import KernelTerms
from simulator.cost.linear import LinearTimes
from simulator.cost.parallelism import Parallelism
from simulator.cost.prefill_curve import pairs_of
from simulator.hardware.engine_profile import Host
from simulator.hardware.registry import load_profile
from simulator.model.registry import load_model

PAGE = (Path(__file__).parents[2] / "docs/cost.md").read_text()
LIBRARY, CONTEXTS, CHUNK = "vllm-0.24.0", [1000] * 32, [(1536, 512)]
MS = 1e-3 * PS_PER_S


@cache
def example():
    """Return the page's model on its GPU, and what its iterations cost."""
    terms = KernelTerms(load_model("llama-3.1-8b"), load_profile("h100_sxm"), Parallelism(), LIBRARY)
    return terms, IterationCost(terms, host(iteration="0.3ms", sequence="25us"), 512, {})


ALONE = ("query, key and value, 32 layers", "attention output, 32 layers", "MLP up and gate, 32 layers",
         "MLP down, 32 layers", "norms, rotary embedding, activation, embedding", "decode attention, 32 layers",
         "head and sampler", "host: 0.3 ms + 32 x 25 us", "**iteration**")  # fmt: skip
MIXED = ("layers without attention, 544 tokens", "prompt attention: 512 tokens, 917,504 pairs", "decode attention",
         "head and sampler, 33 requests", "host: 0.3 ms + 33 x 25 us", "**iteration with the chunk**")  # fmt: skip


@cache
def recomputed():
    """Return the milliseconds of every row of both tables."""
    terms, cost = example()
    model, one, chunked = load_model("llama-3.1-8b"), np.array([32.0]), np.array([544.0])
    times = LinearTimes(load_profile("h100_sxm"), LIBRARY)
    products = [32e3 * float(times.seconds(linear, one)[0]) for linear in model.linears(model.kinds[0])]
    decode = 1e3 * float(terms.decode(one, np.array([1000.0]))[0])
    alone = [
        *products,
        1e3 * float(terms.dense(one)[0]) - sum(products),
        decode,
        1e3 * float(terms.sample(one)[0]),
        1.1,
        decode_ps(cost, CONTEXTS) / MS,
    ]
    mixed = [
        1e3 * float(terms.dense(chunked)[0]),
        1e3 * terms.prompts(chunks(CHUNK), 512, 0, 0.0, 0.0),
        decode,
        1e3 * float(terms.sample(one + 1)[0]),
        1.125,
        mixed_ps(cost, CHUNK, CONTEXTS) / MS,
    ]
    return dict(zip(ALONE + MIXED, alone + mixed, strict=True))


@pytest.mark.parametrize("row", ALONE + MIXED)
def test_the_example_is_what_the_tables_give(row):
    found = re.search(rf"^\| {re.escape(row)} \| \**([\d.]+)\** \|$", PAGE, re.MULTILINE)
    assert found, f"no row '{row}'"
    assert float(found[1]) == pytest.approx(recomputed()[row], abs=0.00051), f"write {recomputed()[row]:.3f}"


@pytest.mark.parametrize("rows", [ALONE, MIXED], ids=["alone", "mixed"])
def test_its_terms_add_up(rows):
    *terms, whole = (recomputed()[row] for row in rows)
    # Slopes are whole picoseconds a KV token: 32,000 of them may lose as many.
    assert sum(terms) == pytest.approx(whole, abs=32_000 / MS + 1e-6)
    assert pairs_of(512, 1536, 0) == 917_504


def test_its_run_of_iterations():
    _, growth, limit = Batch(CONTEXTS).run(example()[1])
    found = re.search(r"takes ([\d.]+) us longer, and so do (\d+) in a row", PAGE)
    assert found
    assert float(found[1]) == pytest.approx(growth / 1e6, abs=0.00051)
    assert int(found[2]) == limit


@pytest.mark.parametrize("constant", Host.model_fields)
def test_every_constant_of_an_engine_is_explained(constant):
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert any(f"`{constant}`" in line.split("|")[1] for line in rows)
