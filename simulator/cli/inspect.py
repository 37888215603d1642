"""``tokenyard inspect``: one request's way through the cluster, or which requests were slowest."""

from typing import Annotated, Any

import typer

_SLOWEST = 10
_MOST_EVENTS = 40


def inspect(
    run: Annotated[str, typer.Argument(help="A results folder, or FOLDER/RUN for one of its runs.")],
    request: Annotated[
        int | None, typer.Option(min=0, help="The request's number; without it: the slowest ten.", show_default=False)
    ] = None,
    name: Annotated[
        str | None, typer.Option("--run", help="Which run of the folder, if it has several.", show_default=False)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Show what happened to a request and when, and where its time went.

    Example: tokenyard inspect results/quickstart --run "4 GPUs" --request 17
    """
    from simulator.cli.output import print_json
    from simulator.experiment.stored.folder import find_runs, only_run
    from simulator.experiment.stored.request_way import request_way, slowest

    chosen = only_run(find_runs(run), name)
    if request is None:
        rows = slowest(chosen, _SLOWEST)
        if json:
            print_json({"run": chosen.name, "slowest": rows})
        else:
            _print_slowest(rows)
        return
    way = request_way(chosen, request)
    if json:
        print_json(way)
    else:
        _print_way(way)


def _print_slowest(rows: list[dict[str, Any]]) -> None:
    from simulator.cli.output import print_rows

    if not rows:
        typer.echo("No request completed.")
        return
    print_rows([{key: _plain(value) for key, value in row.items()} for row in rows], list(rows[0]))


def _print_way(way: dict[str, Any]) -> None:
    from simulator.cli.output import print_rows

    typer.echo(f"request {way['request']} of run '{way['run']}': {way['status']}")
    latencies = [f"{name.removesuffix('_ms').upper()} {_plain(way[name])} ms" for name in ("ttft_ms", "tpot_ms")]
    typer.echo(", ".join([*latencies, f"end to end {_plain(way['e2el_ms'])} ms"]) + "\n")
    events, start = way["events"], way["arrival_s"]
    rows = [
        {"at s": f"{event['at_s']:.6f}", "after ms": _plain((event["at_s"] - start) * 1e3), **event} for event in events
    ]
    if len(rows) > _MOST_EVENTS:
        half = _MOST_EVENTS // 2
        between = {"event": f"... {len(rows) - _MOST_EVENTS} more, see --json"}
        rows = [*rows[:half], between, *rows[-half:]]
    print_rows(rows, ["at s", "after ms", "event", "detail"])
    total = sum(way["spent_ms"].values())
    if total:
        typer.echo("\nwhere its time went")
        shares = [
            {"phase": name.replace("_", " "), "ms": _plain(value), "share": f"{value / total:.1%}"}
            for name, value in way["spent_ms"].items()
        ]
        print_rows(shares, ["phase", "ms", "share"])


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
