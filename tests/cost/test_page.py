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


def recomputed():
    terms, cost = example()
    model, one = load_model("llama-3.1-8b"), np.array([32.0])
    times = LinearTimes(load_profile("h100_sxm"), LIBRARY)
    products = [32e3 * float(times.seconds(linear, one)[0]) for linear in model.linears(model.kinds[0])]
    dense = 1e3 * float(terms.dense(one)[0])
    rows = ("query, key and value, 32 layers", "attention output, 32 layers", "MLP up and gate, 32 layers",
            "MLP down, 32 layers")  # fmt: skip
    return dict(zip(rows, products, strict=True)) | {
        "norms, rotary embedding, activation, embedding": dense - sum(products),
        "decode attention, 32 layers": 1e3 * float(terms.decode(one, np.array([1000.0]))[0]),
        "head and sampler": 1e3 * float(terms.sample(one)[0]),
        "host: 0.3 ms + 32 x 25 us": 1.1,
        "**iteration**": decode_ps(cost, CONTEXTS) / MS,
        "layers without attention, 544 tokens": 1e3 * float(terms.dense(np.array([544.0]))[0]),
        "prompt attention: 512 tokens, 917,504 pairs": 1e3 * terms.prompts(chunks(CHUNK), 512, 0, 0.0, 0.0),
        "head and sampler, 33 requests": 1e3 * float(terms.sample(np.array([33.0]))[0]),
        "host: 0.3 ms + 33 x 25 us": 1.125,
        "**iteration with the chunk**": mixed_ps(cost, CHUNK, CONTEXTS) / MS,
    }


@pytest.mark.parametrize(("row", "expected"), recomputed().items(), ids=recomputed())
def test_the_example_is_what_the_tables_give(row, expected):
    found = re.search(rf"^\| {re.escape(row)} \| \**([\d.]+)\** \|$", PAGE, re.MULTILINE)
    assert found, f"no row '{row}'"
    assert float(found[1]) == pytest.approx(expected, abs=0.00051), f"write {expected:.3f}"


def test_its_terms_add_up():
    rows = recomputed()
    names = list(rows)
    alone = names.index("**iteration**")
    assert sum(rows[name] for name in names[:alone]) == pytest.approx(rows["**iteration**"], abs=1e-6)
    mixed = sum(rows[name] for name in names[alone + 1 : -1]) + rows["decode attention, 32 layers"]
    assert mixed == pytest.approx(rows["**iteration with the chunk**"], abs=1e-6)
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
