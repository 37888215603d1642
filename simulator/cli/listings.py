"""``tokenyard policies``, ``models``, ``profiles``: what an experiment can name."""

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def policies(json: Json = False) -> None:
    """List schedulers and routers with their parameters.

    Example: tokenyard policies
    """
    from simulator.cluster.registry import ROUTERS
    from simulator.experiment.named import describe_policies
    from simulator.scheduling.registry import SCHEDULERS

    rows = [row for registry in (SCHEDULERS, ROUTERS) for row in describe_policies(registry)]
    for row in [] if json else rows:
        row["parameters"] = ", ".join(f"{each['name']}={each['default']}" for each in row["parameters"])
    _show("policies", rows, ["kind", "name", "parameters", "summary"], json)


def models(json: Json = False) -> None:
    """List the models known by name.

    An experiment can also give the path of a Hugging Face config.json.

    Example: tokenyard models
    """
    from simulator.model.registry import known_models, load_model

    rows = [
        {
            "name": model.name,
            "parameters": model.parameters if json else f"{model.parameters / 1e9:.1f}B",
            "layers": model.layers,
            "hidden": model.hidden,
            "heads": model.heads,
            "kv_heads": model.kv_heads,
            "max_model_len": model.max_model_len,
            "kv_bytes_per_token": model.kv_bytes_per_token,
        }
        for model in map(load_model, known_models())
    ]
    _show("models", rows, ["name", "parameters", "kv_heads", "max_model_len", "kv_bytes_per_token"], json)


def profiles(json: Json = False) -> None:
    """List the hardware profiles known by name.

    An experiment can also give the path of a profile YAML.

    Example: tokenyard profiles
    """
    from simulator.hardware.registry import known_profiles, load_profile

    rows: list[dict[str, Any]] = []
    for profile in map(load_profile, known_profiles()):
        memory, bandwidth = f"{profile.memory.capacity / 2**30:.0f}GiB", f"{profile.memory.bandwidth / 1e9:.0f}GB/s"
        rows.append({"name": profile.name, "gpu": profile.gpu, "memory": memory, "bandwidth": bandwidth})
        rows[-1]["provenance"] = profile.provenance
    _show("profiles", rows, ["name", "gpu", "memory", "bandwidth"], json)


def _show(what: str, rows: list[dict[str, Any]], columns: list[str], json: bool) -> None:
    from simulator.cli.output import print_json, print_rows

    if json:
        print_json({what: rows})
    else:
        print_rows(rows, columns)
