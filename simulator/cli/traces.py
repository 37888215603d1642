"""``tokenyard traces``: public traces and what is in a trace file."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Trace = Annotated[str, typer.Argument(help="A trace's name or a file's path.", show_default=False)]

Seed = Annotated[int, typer.Option(min=0, help="The seed for what is generated.")]


@app.callback()
def _group() -> None:
    """List, fetch, describe, fit and convert traces.

    Example: tokenyard traces describe azure_conv_2023
    """


@app.command("list")
def list_traces(json: Json = False) -> None:
    """List the public traces and whether each is fetched.

    A trace marked "fitted" can be simulated without a download: its shipped spec draws requests like the real ones.

    Example: tokenyard traces list
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.workload.registry import describe, load_registry
    from simulator.workload.traces import fitted_names

    shipped = fitted_names()
    rows: list[dict[str, Any]] = [{**describe(name), "fitted": name in shipped} for name in load_registry()]
    if json:
        print_json({"traces": rows})
        return
    for row in rows:
        row["fetched"], row["fitted"] = ("yes" if row[key] else "no" for key in ("cached", "fitted"))
    print_rows(rows, ["name", "title", "requests", "licence", "fitted", "fetched"])


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="A trace of 'tokenyard traces list'.", show_default=False)],
    trust: Annotated[
        bool, typer.Option("--trust-on-first-use", help="Accept a file whose sha256 the registry doesn't know.")
    ] = False,
) -> None:
    """Download a public trace into the cache and check its sha256.

    Example: tokenyard traces fetch azure_conv_2023
    """
    import sys

    from simulator.workload.registry import fetch

    fetched = fetch(name, trust=trust, progress=sys.stderr.isatty())
    typer.echo(f"{fetched.path}")
    kind = "as registered" if fetched.pinned else "trusted on first use, not checked by anyone"
    typer.echo(f"sha256 {fetched.sha256} ({kind})", err=True)


@app.command()
def describe(
    trace: Trace,
    json: Json = False,
    plot: Annotated[
        Path | None, typer.Option(help="Write a PNG of the trace and its fit: rate per minute, lengths.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Plot against this trace or fitted file; default: a fresh fit.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Print a trace's numbers: requests, rate, burstiness, lengths, shared prefixes.

    Example: tokenyard traces describe azure_conv_2023 --plot azure_conv.png
    """
    from dataclasses import asdict

    from simulator.cli.output import check_file, print_json
    from simulator.workload.build import build
    from simulator.workload.describe import plot_against, summarise
    from simulator.workload.fit import fit
    from simulator.workload.spec import WorkloadSpec

    if plot is not None:
        check_file(plot)
    workload = build(WorkloadSpec(trace=trace), seed, Path())
    numbers = asdict(summarise(workload))
    if json:
        print_json(numbers)
    else:
        _print_numbers(numbers)
    if plot is not None:
        spec = WorkloadSpec(trace=against) if against else fit(workload)
        plot_against(workload, build(spec, seed, Path()), plot)
        typer.echo(f"plotted in {plot}", err=True)


def _print_numbers(numbers: dict[str, Any]) -> None:
    from simulator.cli.output import print_rows

    for key in ("name", "source", "requests", "duration_s", "rate", "gap_cv", "prefix_share", "clients"):
        value = numbers[key]
        label = {"duration_s": "duration (s)", "rate": "rate (requests/s)"}.get(key, key.replace("_", " "))
        shown = f"{value:.4g}" if isinstance(value, float) else "none" if value is None else value
        typer.echo(f"{label:<18} {shown}")
    typer.echo()
    rows = [
        {
            "tokens": part,
            "mean": f"{numbers[part]['mean']:.1f}",
            **{f"p{at}": f"{value:g}" for at, value in numbers[part]["percentiles"].items()},
            "max": numbers[part]["max"],
        }
        for part in ("prompt", "output", "total")
    ]
    print_rows(rows, list(rows[0]))


@app.command()
def fit(
    file: Annotated[Path, typer.Argument(help="A trace file.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The YAML to write.", show_default=False)],
) -> None:
    """Fit a workload to a trace file: small, shareable, and usable as 'trace: FILE.yaml'.

    Example: tokenyard traces fit my_trace.csv --out my_trace.yaml
    """
    from datetime import UTC, datetime

    from simulator.cli.output import check_file
    from simulator.workload.fitted import write_fitted

    check_file(out)
    fitted = write_fitted(file, out, datetime.now(UTC).date())
    typer.echo(f"{fitted.about.requests} requests fitted in {out}", err=True)
    typer.echo(f"kept: {fitted.about.kept}\nlost: {fitted.about.lost}", err=True)


@app.command()
def export(
    trace: Trace,
    out: Annotated[Path, typer.Argument(help="The file to write (.jsonl).", show_default=False)],
    seed: Seed = 0,
) -> None:
    """Write a trace in Mooncake's JSON Lines, the field's interchange format.

    Example: tokenyard traces export azure_conv_2023 azure_conv.jsonl
    """
    from simulator.cli.output import check_file
    from simulator.workload.build import build
    from simulator.workload.readers.mooncake import write_mooncake
    from simulator.workload.spec import WorkloadSpec

    check_file(out)
    workload = build(WorkloadSpec(trace=trace), seed, Path())
    write_mooncake(workload, out)
    typer.echo(f"{len(workload)} requests written to {out}", err=True)
