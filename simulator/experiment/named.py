"""Things chosen by name: policies with their parameters, models and hardware, checked against the registries.

The registries are looked up when a value is checked, not when this module loads, so that reading an experiment's shape
(``tokenyard schema``) needs none of the simulation.
"""

import inspect
from difflib import get_close_matches
from typing import Annotated, Any, Self, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_serializer,
)
from pydantic_core import PydanticCustomError

from simulator.core.errors import InputError, unknown
from simulator.core.registry import ParameterInfo, Registry


class Named(BaseModel):
    """A policy by name with its parameters; in YAML a name, or a mapping of ``name`` and the parameters."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    params: dict[str, Any] = {}

    @classmethod
    def read(cls, value: Any, default: str) -> Self:
        """Return what YAML wrote as a name or as ``{name, **params}``; a mapping without a name means the default."""
        if isinstance(value, cls):
            return value
        if isinstance(value, str) and value:
            return cls(name=value)
        if isinstance(value, dict) and isinstance(value.get("name", default), str):
            return cls(name=value.get("name", default), params={key: at for key, at in value.items() if key != "name"})
        raise ValueError(f"expected a name such as '{default}', or a mapping with 'name' and parameters, not {value!r}")

    @model_serializer
    def as_yaml(self) -> str | dict[str, Any]:
        """Return the name alone, or the mapping if there are parameters."""
        return {"name": self.name, **self.params} if self.params else self.name


def problem(error: InputError, *, key: str | None = None, kind: str = "value") -> PydanticCustomError:
    """Return an error pydantic reports with its place; ``key`` is the key below that place which is to blame.

    ``kind`` is ``key`` when the key itself is wrong, ``value`` when what it says is.
    """
    context = {"message": error.message, "hint": error.hint, "key": key}
    return PydanticCustomError(f"wrong_{kind}", "{message}", context)


def suggest(name: str, known: list[str]) -> str:
    """Return the hint for an unknown name: the nearest known one, else all of them."""
    near = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"


def looks_like_path(value: str) -> bool:
    """Tell whether a value that may be a name or a path is meant as a path: it has a folder or a file's suffix."""
    suffixes = (".yaml", ".yml", ".json", ".jsonl", ".csv", ".parquet", ".gz")
    return "/" in value or value.startswith(("~", ".")) or value.endswith(suffixes)


def known_model(value: Any) -> Any:
    """Return a model's name or path; an unknown name is an error with the nearest known one."""
    from simulator.model.registry import known_models

    return _known("model", value, known_models())


def known_hardware(value: Any) -> Any:
    """Return a hardware profile's name or path; an unknown name is an error with the nearest known one."""
    from simulator.hardware.registry import known_profiles

    return _known("hardware", value, known_profiles())


def known_engine(value: Any) -> Any:
    """Return an engine profile's name or path; an unknown name is an error with the nearest known one."""
    from simulator.hardware.engine_profile import known_engines

    return _known("engine", value, known_engines())


def scheduler_of(engine: str) -> str:
    """Return the name of an engine's own scheduler; that of vLLM where the engine is not known (it is refused then)."""
    from simulator.hardware.engine_profile import load_engine

    try:
        return load_engine(engine).scheduler
    except InputError:
        return "vllm"


def _known(kind: str, value: Any, names: list[str]) -> Any:
    if isinstance(value, str) and value not in names and not looks_like_path(value):
        raise problem(unknown(kind, value, names))
    return value


def _check_policy(registry: Registry[Any], choice: Named) -> Named:
    _check_parameters(registry, choice)
    _check_together(registry, choice.name, choice.params)
    return choice


def _check_parameters(registry: Registry[Any], choice: Named) -> None:
    try:
        parameters = registry.parameters(choice.name)
    except InputError as error:
        raise problem(error, key="name") from None
    policy = f"{registry.kind} '{choice.name}'"
    for key, value in choice.params.items():
        if key not in parameters:
            wrong = InputError(f"{policy} has no parameter '{key}'", hint=suggest(key, list(parameters)))
            raise problem(wrong, key=key, kind="key")
        _check_value(key, value, parameters[key].annotation)
    for key, parameter in parameters.items():
        if parameter.default is inspect.Parameter.empty and key not in choice.params:
            raise problem(InputError(f"{policy} needs the parameter '{key}'"))


def _check_together(registry: Registry[Any], name: str, params: dict[str, Any]) -> None:
    try:
        registry.make(name, params)  # its constructor knows which values cannot go together
    except InputError as error:
        raise problem(error) from None


def describe_policies(registry: Registry[Any]) -> list[dict[str, Any]]:
    """Return each policy of a registry: kind, name, a one-line summary, source, parameters with type and default."""
    return [
        {
            "kind": registry.kind,
            "name": name,
            "summary": (inspect.getdoc(registry.get(name)) or "").partition("\n")[0],
            "source": getattr(registry.get(name), "source", ""),
            "parameters": [_described(parameter) for parameter in registry.parameters(name).values()],
        }
        for name in registry.names()
    ]


def _described(parameter: ParameterInfo) -> dict[str, Any]:
    """Return a parameter's name, type and default; those with a unit as an experiment writes them."""
    kind, default = parameter.annotation, parameter.default
    default = None if default is inspect.Parameter.empty else default
    parts = get_args(kind) if get_origin(kind) is Annotated else ()
    units = [part for part in parts if isinstance(part, WithJsonSchema)]
    if units and (schema := units[0].json_schema) and default is not None:
        default = TypeAdapter(kind).dump_python(default)
        return {"name": parameter.name, "type": schema.get("description", schema.get("type")), "default": default}
    name = inspect.formatannotation(get_args(kind)[0] if units else kind).replace("typing.", "")
    return {"name": parameter.name, "type": name, "default": default}


def _check_value(key: str, value: Any, annotation: Any) -> None:
    try:
        TypeAdapter(annotation, config=ConfigDict(strict=True)).validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        shown = "" if repr(value) in message else f", not {value!r}"
        raise problem(InputError(f"{message}{shown}"), key=key) from None


def _check_scheduler(choice: Named) -> Named:
    from simulator.scheduling.registry import SCHEDULERS

    if choice.name != "vllm":
        return _check_policy(SCHEDULERS, choice)
    from simulator.scheduling.vllm import TOKENS, with_limits

    # Left out, the requests are fitted to the tokens asked for: few tokens alone are no mistake.
    _check_parameters(SCHEDULERS, choice)
    _check_together(SCHEDULERS, choice.name, with_limits({"max_num_batched_tokens": TOKENS, **choice.params}))
    return choice


def _check_router(choice: Named) -> Named:
    from simulator.cluster.registry import ROUTERS

    return _check_policy(ROUTERS, choice)


def _check_autoscaler(choice: Named) -> Named:
    from simulator.cluster.registry import AUTOSCALERS

    return _check_policy(AUTOSCALERS, choice)


def _read_technique(value: Any) -> Named:
    if isinstance(value, dict) and "name" not in value:
        raise ValueError("a technique is a name, or a mapping with 'name' and parameters")
    return Named.read(value, "quantization")


def _check_technique(choice: Named) -> Named:
    from simulator.experiment.techniques.registry import TECHNIQUES

    return _check_policy(TECHNIQUES, choice)


_JSON_SCHEMA = {
    "anyOf": [
        {"type": "string"},
        {"type": "object", "properties": {"name": {"type": "string"}}, "additionalProperties": True},
    ]
}
Scheduler = Annotated[
    Named,
    BeforeValidator(lambda value: Named.read(value, "vllm")),
    AfterValidator(_check_scheduler),
    WithJsonSchema(_JSON_SCHEMA),
]
Router = Annotated[
    Named,
    BeforeValidator(lambda value: Named.read(value, "least_outstanding")),
    AfterValidator(_check_router),
    WithJsonSchema(_JSON_SCHEMA),
]
Autoscaler = Annotated[
    Named,
    BeforeValidator(lambda value: Named.read(value, "target_utilization")),
    AfterValidator(_check_autoscaler),
    WithJsonSchema(_JSON_SCHEMA),
]
TechniqueChoice = Annotated[
    Named,
    BeforeValidator(_read_technique),
    AfterValidator(_check_technique),
    WithJsonSchema(_JSON_SCHEMA),
]
