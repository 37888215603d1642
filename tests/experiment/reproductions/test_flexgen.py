"""FlexGen on a T4: its two uncompressed throughputs within 30 %, and what makes them."""

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
    techniques = [*case.before, {**offloading, **changes}]
    return flexgen.tokens_per_s(case.model, techniques, batch or case.batch, setup.prompt, setup.output)


@pytest.mark.parametrize(("name", "published"), [("opt_30b", 7.32), ("opt_175b", 0.69)])
def test_throughput_is_within_30_percent_of_the_published(name, published):
    assert tokens_per_s(name) == pytest.approx(published, rel=0.3)


def test_the_batch_is_what_amortises_streaming():
    few, many = (tokens_per_s("opt_175b", batch) for batch in (8, 256))
    assert many > 5 * few


def test_a_faster_disk_makes_the_large_model_faster():
    assert tokens_per_s("opt_175b", disk_read="5300MB/s") > 1.3 * tokens_per_s("opt_175b")


def test_neither_fits_a_t4_without_offloading():
    with pytest.raises(InputError, match="does not fit t4"):
        assembled([], model="opt-30b", instances=[{"hardware": "t4"}])
