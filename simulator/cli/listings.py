"""``tokenyard policies``, ``models``: what an experiment can name."""

from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def policies(json: Json = False) -> None:
    """List schedulers, routers and autoscalers with their parameters.

    Example: tokenyard policies
    """
    from simulator.cluster.registry import AUTOSCALERS, ROUTERS
    from simulator.experiment.named import describe_policies
    from simulator.scheduling.registry import SCHEDULERS

    rows = [row for registry in (SCHEDULERS, ROUTERS, AUTOSCALERS) for row in describe_policies(registry)]
    for row in [] if json else rows:
        row["parameters"] = ", ".join(f"{each['name']}={each['default']}" for each in row["parameters"])
    _show("policies", rows, ["kind", "name", "parameters", "summary", "source"], json)


def models(json: Json = False) -> None:
    """List the models known by name.

    An experiment can also give the path of a Hugging Face config.json.

    Example: tokenyard models
    """
    from simulator.model.describe import describe_model
    from simulator.model.registry import known_models, known_source, load_model

    rows = [describe_model(load_model(name)) | {"source": known_source(name)} for name in known_models()]
    for row in [] if json else rows:
        row["size"], row["active"] = (f"{row[key] / 1e9:.1f}B" for key in ("parameters", "active_parameters"))
        row["experts"] = f"{row['top_k']} of {row['experts']}" if row["experts"] else ""
        row["KV/token"] = f"{row['kv_bytes_per_token'] / 1024:.0f}KiB"
    _show("models", rows, ["name", "size", "active", "experts", "weights", "KV/token"], json)


def _show(what: str, rows: list[dict[str, Any]], columns: list[str], json: bool) -> None:
    from simulator.cli.output import print_json, print_rows

    if json:
        print_json({what: rows})
    else:
        print_rows(rows, columns)
