"""A GPU's profile: what it was measured to do, and where each number comes from."""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, PrivateAttr, ValidationError

from simulator.core import InputError, unknown
from simulator.core.data import data_dir
from simulator.core.quantity import Compute
from simulator.core.yaml_source import YamlSource, read_yaml
from simulator.hardware.sections import (
    AllReduce,
    Draw,
    Elementwise,
    Links,
    Memory,
    Price,
    Roofline,
    Section,
    SkewShare,
    TableFile,
)
from simulator.hardware.tables import Tables

__all__ = ["SCHEMA", "AllReduce", "Elementwise", "Memory", "Profile", "Roofline", "known_profiles",
           "load_profile"]  # fmt: skip

SCHEMA = 2


class Profile(Section):
    """One GPU. ``provenance`` names the source of every section.

    Rooflines are of bf16 (``gemm`` and both attentions) and of other types (``rooflines``: matrix products by type);
    they stand in where ``tables`` has nothing. ``peak`` is the datasheet's FLOP/s by type, without sparsity;
    ``sms`` the number of multiprocessors.
    """

    schema_version: Annotated[int, Field(alias="schema")]
    name: str
    gpu: str
    sms: Annotated[int, Field(ge=1)] | None = None
    memory: Memory
    peak: dict[str, Compute] = {}
    links: Links = Links()
    power: Draw | None = None
    price: Price | None = None
    gemm: Roofline
    rooflines: dict[str, Roofline] = {}
    prefill_attention: Roofline
    decode_attention: Roofline
    elementwise: Elementwise
    allreduce: AllReduce | None = None
    skew_alpha: list[SkewShare] = []
    table_file: Annotated[TableFile | None, Field(alias="tables")] = None
    provenance: dict[str, str]
    _folder: Path = PrivateAttr(default=Path())

    def __hash__(self) -> int:
        """Tell profiles apart by identity: cost models of one are kept, and its sections have no hash."""
        return id(self)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a profile file; InputError says what is wrong where. Its tables are opened when asked for."""
        source = read_yaml(path)
        check_schema(source)
        try:
            profile = cls.model_validate(source.value)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            where = source.where(first["loc"])
            raise InputError(f"{key}: {first['msg'].removeprefix('Value error, ')}", where=where) from None
        profile._folder = path.parent
        return profile

    @cached_property
    def tables(self) -> Tables:
        """The measured tables, empty if the profile has none; InputError if the file is missing or another."""
        if self.table_file is None:
            return Tables()
        return Tables.load(self._folder / self.table_file.file, self.table_file.sha256)

    def roofline(self, dtype: str) -> Roofline | None:
        """Return the roofline of matrix products of a type (``bfloat16``, ``fp8``), None if it was not measured."""
        return self.gemm if dtype == "bfloat16" else self.rooflines.get(dtype)


def check_schema(source: YamlSource) -> None:
    """Raise InputError unless a file is of the schema that this version reads."""
    found = source.value.get("schema")
    if found == SCHEMA:
        return
    if found == 1:
        hint = (
            f"write 'schema: {SCHEMA}'; what it has stays as it is, and sms, peak, links, power and tables may be added"
        )
    elif isinstance(found, int) and found > SCHEMA:
        hint = "it was written by a newer version; upgrade tokenyard"
    else:
        hint = f"a profile begins with 'schema: {SCHEMA}'"
    message = f"profile schema {found!r}, this version reads {SCHEMA}"
    raise InputError(message, where=source.where(("schema",)), hint=hint)


def known_profiles() -> list[str]:
    """Return the names of the shipped profiles, sorted."""
    return sorted(path.stem for path in data_dir("hardware_profiles").glob("*.yaml"))


def load_profile(name: str) -> Profile:
    """Return a shipped profile by name, or the one in a YAML file by path; one object while the file stays the same."""
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        if name not in known_profiles():
            if (own := Path(f"{name}.yaml")).is_file():
                raise InputError(f"unknown hardware '{name}'", hint=f"name one of your own by its file: '{own}'")
            raise unknown("hardware", name, known_profiles())
        path = data_dir("hardware_profiles") / f"{name}.yaml"
    return _load(path, path.stat().st_mtime_ns) if path.is_file() else Profile.load(path)


@lru_cache(maxsize=32)
def _load(path: Path, changed: int) -> Profile:
    return Profile.load(path)
