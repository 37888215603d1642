"""docs/clusters.md names every key of its sections with the default it has, and its examples are experiments."""

import re
import warnings
from pathlib import Path

import pytest
import yaml
from pydantic_core import PydanticUndefined

from simulator.experiment import cluster_sections, fleet_sections, spot_sections
from simulator.experiment.load import load_experiment

PAGE = (Path(__file__).parents[2] / "docs/clusters.md").read_text()
SECTIONS = {
    "cluster.links": cluster_sections.LinksSpec,
    "cluster.disaggregation": cluster_sections.DisaggregationSpec,
    "cluster.disaggregation.splitwise": cluster_sections.SplitwiseSpec,
    "cluster.disaggregation.tetriinfer": cluster_sections.TetriInferSpec,
    "cluster.migration": cluster_sections.MigrationSpec,
    "cluster.borrowing": cluster_sections.BorrowingSpec,
    "cluster.autoscaling": fleet_sections.AutoscalingSpec,
    "cluster.faults": fleet_sections.FaultsSpec,
    "cluster.faults.events": fleet_sections.FaultEventSpec,
    "cluster.faults.random": fleet_sections.RandomFaultSpec,
    "cluster.spot": spot_sections.SpotSpec,
    "cluster.spot.changes": spot_sections.SpotChange,
}
BASE = "name: page\nworkload: {trace: azure_conv_2023, requests: 40}\nmodel: llama-3.1-8b\n"


def rows(section):
    """Return a section's keys as the page's table shows them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is required has no value
        values = section.model_construct().model_dump()
    for name, field in section.model_fields.items():
        if field.default is PydanticUndefined:
            default = "required"
        else:
            value = values[name]
            shown = value["name"] if isinstance(value, dict) else value
            default = "none" if shown in (None, ()) else f"`{shown}`"
        yield f"| `{name}` | {default} | {field.description} |"


@pytest.mark.parametrize("key", SECTIONS)
def test_every_key_is_there(key):
    _, _, rest = PAGE.partition(f"\n`{key}`")
    assert rest, f"no table begins with `{key}`"
    table = rest.split("\n\n", 2)[1]
    assert table.splitlines()[2:] == list(rows(SECTIONS[key]))


@pytest.mark.parametrize("example", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_are_read(example, tmp_path):
    file = tmp_path / "example.yaml"
    whole = yaml.safe_load(example)
    assert set(whole) == {"cluster"}
    file.write_text(BASE + example)
    load_experiment(file, [])
