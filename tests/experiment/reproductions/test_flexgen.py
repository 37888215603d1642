"""FlexGen on a T4: its published throughputs within 30 %, and what makes them."""

import json

import pytest
from support.techniques import assembled

from simulator.core import InputError
from simulator.experiment.reproductions import flexgen
from simulator.experiment.reproductions.tools.reproduce import setup_of


def tokens_per_s(name, batch=None, **changes):
    setup = setup_of("flexgen")
    assert isinstance(setup, flexgen.FlexGenSetup)
    case = setup.cases[name]
    offloading = {"name": "offloading", **setup.shared, **(setup.disk if case.on_disk else {}), **case.offloading}
    return flexgen.tokens_per_s(
        case.model, [{**offloading, **changes}], batch or case.batch, setup.prompt, setup.output
    )


@pytest.mark.parametrize(
    ("name", "published"),
    [("opt_30b", 7.32), ("opt_175b", 0.69), ("opt_30b_compressed", 8.38), ("opt_175b_compressed", 1.12)],
)
def test_throughput_is_within_30_percent_of_the_published(name, published):
    assert tokens_per_s(name) == pytest.approx(published, rel=0.3)


@pytest.mark.parametrize(
    ("batch", "techniques", "published"),
    [
        (2, [], 25.26),
        (72, [{"name": "offloading", "host_memory": "208GB", "compress_weights": True, "compress_kv": True}], 29.12),
    ],
)
def test_so_is_the_small_model_of_the_same_table_that_needs_no_link(tmp_path, batch, techniques, published):
    # Nothing travels: what is compared is the GPU's own work, unpacking among it.
    config = {"model_type": "opt", "hidden_size": 4096, "ffn_dim": 16384, "num_hidden_layers": 32}
    config |= {"num_attention_heads": 32, "vocab_size": 50272, "max_position_embeddings": 2048}
    (tmp_path / "config.json").write_text(json.dumps(config))
    found = flexgen.tokens_per_s(str(tmp_path / "config.json"), techniques, batch, prompt=512, output=32)
    assert found == pytest.approx(published, rel=0.3)


def test_the_batch_is_what_amortises_streaming():
    few, many = (tokens_per_s("opt_175b", batch) for batch in (8, 256))
    assert many > 5 * few


def test_a_faster_disk_makes_the_large_model_faster():
    assert tokens_per_s("opt_175b", disk_read="5300MB/s") > 1.3 * tokens_per_s("opt_175b")


def test_neither_fits_a_t4_without_offloading():
    with pytest.raises(InputError, match="does not fit t4"):
        assembled([], model="opt-30b", instances=[{"hardware": "t4"}])
