"""nvbandwidth: what ``nvbandwidth --json`` writes, for the links between host and GPUs and between GPUs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simulator.core import InputError
from simulator.hardware.importers.base import IMPORTERS, Imported, Importer, read_json

_TO_GPU, _TO_HOST = "host_to_device_memcpy_ce", "device_to_host_memcpy_ce"
_BETWEEN = ("device_to_device_memcpy_write_ce", "device_to_device_memcpy_read_ce")
# PCIe carries about as much between GPUs as to the host; NVLink several times that.
_NVLINK = 2.0


@IMPORTERS.register("nvbandwidth")
class NvBandwidth(Importer):
    """Bandwidth of PCIe and NVLink as nvbandwidth copies over them, from its JSON output."""

    source = "nvbandwidth"

    def read(self, paths: Sequence[str], source: str, known: Mapping[str, Any]) -> Imported:
        """Read files with the host-to-device, device-to-host and device-to-device tests of the copy engine."""
        tests: dict[str, list[float] | None] = {}
        for path in paths:
            tests |= _tests(path)
        if not (tests.get(_TO_GPU) and tests.get(_TO_HOST)):
            hint = f"run nvbandwidth --json -t {_TO_GPU} {_TO_HOST} {_BETWEEN[0]}"
            raise InputError("no copies between host and GPU that passed", where=", ".join(paths), hint=hint)
        host = min(float(np.median(tests[name] or [])) for name in (_TO_GPU, _TO_HOST))
        between = next((tests[name] for name in _BETWEEN if name in tests), [])
        pcie: dict[str, Any] = {"bandwidth": f"{host:.4g}GB/s"}
        links = {"pcie": pcie}
        if between is None:
            # Waived: the GPUs cannot read each other's memory.
            pcie["peer_access"] = False
        elif between:
            direct = float(np.median(between))
            if direct > _NVLINK * host:
                links["nvlink"] = {"bandwidth": f"{direct:.4g}GB/s"}
            else:
                pcie["peer_access"] = True
        text = f"median over GPUs of copies in one direction at a time ({source}): the slower of to and from the host"
        return Imported(measured={"links": links}, provenance={"links": text})


def _tests(path: str) -> dict[str, list[float] | None]:
    """Return the bandwidths (GB/s) of each test of a file, None for one that was waived."""
    root = read_json(path).get("nvbandwidth")
    if not isinstance(root, dict) or "testcases" not in root:
        raise InputError("not a result of nvbandwidth", where=path, hint="write it with --json")
    found: dict[str, list[float] | None] = {}
    for test in root["testcases"]:
        name, status = str(test.get("name")), test.get("status")
        if status == "Waived":
            found[name] = None
        elif status == "Passed":
            cells = [cell for row in test.get("bandwidth_matrix", []) for cell in row if cell != "N/A"]
            try:
                found[name] = [speed for cell in cells if (speed := float(cell)) > 0]
            except ValueError:
                raise InputError(f"{name}: a cell of its matrix is not a number", where=path) from None
    return found
