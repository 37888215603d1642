"""Where a sweep's points lie: one folder each under its content key, which appears whole or not at all."""

import os
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path


class PointStore:
    """The folder ``points/`` of a sweep; a point is done if its folder is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Return the folder of a point."""
        return self.folder / key

    def has(self, key: str) -> bool:
        """Tell whether a point is done."""
        return self.path(key).is_dir()

    def put(self, key: str, files: Mapping[str, bytes]) -> None:
        """Write a point's files, in place of what was there; a crash leaves the old ones, the new ones, or none."""
        part = self._beside(key, "part")
        part.mkdir(parents=True)
        for name, content in files.items():
            (part / name).write_bytes(content)
        if self.has(key):
            old = self._beside(key, "old")
            self.path(key).rename(old)
            part.rename(self.path(key))
            shutil.rmtree(old)
        else:
            part.rename(self.path(key))

    def clean(self) -> None:
        """Remove what processes of this machine left half written when they were killed."""
        for left in self.folder.glob(".*.*.*.*"):
            _, _, host, pid, _ = left.name.split(".", 4)
            if host == _host() and not _alive(int(pid)):
                shutil.rmtree(left, ignore_errors=True)

    def _beside(self, key: str, kind: str) -> Path:
        return self.folder / f".{key}.{_host()}.{os.getpid()}.{kind}"


def _host() -> str:
    return socket.gethostname().replace(".", "-")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
