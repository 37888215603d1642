"""The shipped folders are found in a checkout and in an installed wheel; a stranger's folder is not one of them."""

import importlib.util
import shutil
from pathlib import Path

import pytest

from simulator.core import data


def installed_copy(site: Path):
    """Return the module as it stands in ``site``, an installation without the checkout around it."""
    (site / "simulator/core").mkdir(parents=True)
    shutil.copy(data.__file__, site / "simulator/core/data.py")
    spec = importlib.util.spec_from_file_location("installed_data", site / "simulator/core/data.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_checkouts_folder_is_beside_the_package():
    assert (data.data_dir("workloads") / "registry.yaml").is_file()


def test_a_wheels_folder_is_inside_the_package_whatever_lies_beside_it(tmp_path):
    module = installed_copy(tmp_path)
    (tmp_path / "workloads").mkdir()
    inside = tmp_path / "simulator/_data/workloads"
    inside.mkdir(parents=True)
    assert module.data_dir("workloads") == inside


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder 'workloads'"):
        installed_copy(tmp_path).data_dir("workloads")
