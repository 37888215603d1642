"""Classes by name: registered with a decorator, named as ``module:Class``, or shipped as an entry point."""

import inspect
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from simulator.compiled import MODULES
from simulator.core.errors import InputError, unknown

T = TypeVar("T")
C = TypeVar("C", bound=type)


class ParameterInfo(NamedTuple):
    """A keyword of a registered class's constructor."""

    name: str
    annotation: Any
    default: Any


class Registry(Generic[T]):
    """Named classes of one kind. Importing is lazy: a name's own module is loaded when it is first looked up.

    All modules of the package are loaded for a list of the names, and for a name that no module there is called by.

    ``kind`` is the word for error messages, ``base`` what every class derives from, ``package`` the one whose modules
    register classes, ``group`` the entry point group that plug-ins use. Parameters of a class are the keyword-only
    arguments of its constructor. ``defines``: methods that a class must define, for a base that may be compiled and
    can't tell then.
    """

    def __init__(self, kind: str, base: type[T], *, package: str, group: str, defines: Sequence[str] = ()) -> None:
        self.kind = kind
        self._defines = defines
        self._base = base
        self._package = package
        self._group = group
        self._classes: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[C], C]:
        """Register a class under a name; registering a name twice is a programming error."""

        def decorate(cls: C) -> C:
            assert name not in self._classes, f"{self.kind} '{name}' is registered twice"
            self._classes[name] = cls
            return cls

        return decorate

    def names(self) -> list[str]:
        """Return all known names, sorted."""
        self._load()
        return sorted({*self._classes, *(point.name for point in entry_points(group=self._group))})

    def get(self, name: str) -> type[T]:
        """Return the class of a name or of ``module:Class``; InputError with a suggestion when there is none."""
        # All of a package's modules would be 20 CPU ms of every short run.
        if not self._loaded and name.isidentifier() and find_spec(f"{self._package}.{name}") is not None:
            import_module(f"{self._package}.{name}")
        if name not in self._classes:
            self._load()
        if name in self._classes:
            return self._classes[name]
        if ":" in name:
            return self._imported(name)
        for point in entry_points(group=self._group, name=name):
            return self._checked(name, point.load())
        raise unknown(self.kind, name, self.names())

    def parameters(self, name: str) -> dict[str, ParameterInfo]:
        """Return the parameters a class takes, by name, in order."""
        cls = self.get(name)
        hints = get_type_hints(cls.__init__, include_extras=True)
        return {
            parameter.name: ParameterInfo(parameter.name, hints.get(parameter.name, Any), parameter.default)
            for parameter in inspect.signature(cls).parameters.values()
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY
        }

    def make(self, name: str, params: Mapping[str, Any]) -> T:
        """Construct a class with checked parameters; InputError names the parameter that is unknown or wrong."""
        known = self.parameters(name)
        checked = {}
        for key, value in params.items():
            if key not in known:
                raise unknown(f"parameter of {self.kind} {name}", key, known)
            try:
                adapter = TypeAdapter(known[key].annotation, config=ConfigDict(strict=True))
                checked[key] = adapter.validate_python(value)
            except ValidationError as error:
                first = error.errors()[0]
                raise InputError(f"{self.kind} {name}: {key} is {value!r}: {first['msg'].lower()}") from None
        return self.get(name)(**checked)

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__, f"{self._package}."):
            import_module(module.name)

    def _imported(self, name: str) -> type[T]:
        module_name, _, class_name = name.partition(":")
        try:
            module = import_module(module_name)
        except Exception as error:
            # Whatever a user's own module raises, a syntax error included, is for its author to see.
            raise InputError(f"{self.kind} '{name}': cannot import {module_name}: {error}") from error
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise InputError(f"{self.kind} '{name}': module {module_name} has no class {class_name}")
        return self._checked(name, found)

    def _checked(self, name: str, found: type) -> type[T]:
        if not issubclass(found, self._base):
            raise InputError(f"{self.kind} '{name}': {found.__name__} does not derive from {self._base.__name__}")
        left = {method for method in self._defines if getattr(found, method) is getattr(self._base, method)}
        if missing := sorted(left.union(getattr(found, "__abstractmethods__", ()))):
            raise InputError(f"{self.kind} '{name}': {found.__name__} does not define {', '.join(missing)}")
        if hidden := hidden_attributes(found):
            raise InputError(
                f"{self.kind} '{name}': {found.__name__} sets {', '.join(hidden)} for the class",
                hint=f"set it in __init__: self.{hidden[0]} = ...",
            )
        return found


def hidden_attributes(found: type) -> list[str]:
    """Return what a class has for all its instances although a base keeps it in each: compiled code would miss it."""
    kept: set[str] = set()
    for base in found.__mro__[1:]:
        if base.__module__.removeprefix("simulator.") in MODULES:
            hints: dict[str, Any] = inspect.get_annotations(base)
            of_classes = {name for name, hint in hints.items() if get_origin(hint) is ClassVar}
            kept.update(hints.keys() - of_classes, vars(base).get("__mypyc_attrs__", ()))
    return sorted(name for name in kept & vars(found).keys() if not name.startswith("__"))
