"""Where the shipped data folders are: beside the package in a checkout, inside it once installed."""

from pathlib import Path


def data_dir(name: str) -> Path:
    """Return the folder ``workloads``, ``hardware_profiles`` or ``experiments``; FileNotFoundError if not shipped."""
    package = Path(__file__).resolve().parents[1]
    checkout = package.parent / name
    # An installed package has no pyproject.toml beside it; a stranger's folder of that name there must not win.
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    installed = package / "_data" / name
    if installed.is_dir():
        return installed
    raise FileNotFoundError(f"this installation has no folder '{name}' (looked for {checkout} and {installed})")
