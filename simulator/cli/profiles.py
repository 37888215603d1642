"""``tokenyard profiles``: GPUs and what they were measured to do."""

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(invoke_without_command=True)

Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Name = Annotated[str, typer.Argument(help="A profile's name, or the path of its YAML.", show_default=False)]


@app.callback()
def _group(context: typer.Context, json: Json = False) -> None:
    """List, show, compare, check and import hardware profiles. Without a command: list.

    Example: tokenyard profiles show h200_sxm
    """
    if context.invoked_subcommand is None:
        list_profiles(json)


@app.command("list")
def list_profiles(json: Json = False) -> None:
    """List the hardware profiles known by name.

    An experiment can also give the path of a profile YAML.

    Example: tokenyard profiles list
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.hardware.registry import known_profiles, load_profile

    rows: list[dict[str, Any]] = []
    for profile in map(load_profile, known_profiles()):
        memory, bandwidth = f"{profile.memory.capacity / 2**30:.0f}GiB", f"{profile.memory.bandwidth / 1e9:.0f}GB/s"
        row: dict[str, Any] = {"name": profile.name, "gpu": profile.gpu, "memory": memory, "bandwidth": bandwidth}
        row["tables"] = profile.tables.libraries()
        row["provenance"] = profile.provenance
        rows.append(row)
    if json:
        print_json({"profiles": rows})
        return
    for row in rows:
        row["tables"] = ", ".join(row["tables"])
    print_rows(rows, ["name", "gpu", "memory", "bandwidth", "tables"])


@app.command()
def show(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="The folder for the plot; default: results/profiles.", show_default=False)
    ] = None,
    json: Json = False,
) -> None:
    """Print what a GPU was measured to do and draw it: matrix products, decode attention, all-reduces.

    Example: tokenyard profiles show h200_sxm
    """
    from simulator.cli.output import check_writable, note, print_json, print_rows
    from simulator.hardware.describe_profile import figures, operators
    from simulator.hardware.plot_profile import plot_profile
    from simulator.hardware.registry import load_profile

    profile = load_profile(name)
    folder = out or Path("results/profiles")
    check_writable(folder)
    files = plot_profile(profile, folder)
    if json:
        rows = operators(profile)
        print_json({"profile": profile.name, "figures": figures(profile), "operators": rows,
                    "provenance": profile.provenance, "plots": [str(file) for file in files]})  # fmt: skip
        return
    print_rows(figures(profile), ["figure", "value"])
    if rows := operators(profile):
        for row in rows:
            row["median"], row["p95"] = f"{row['median']:.1%}", f"{row['p95']:.1%}"
        for library in sorted({row["library"] for row in rows}):
            typer.echo(f"\n{library}")
            own = [row for row in rows if row["library"] == library]
            print_rows(own, ["operator", "type", "grids", "samples", "median", "p95", "kept"])
        typer.echo("\nkept: knots of the axes; median, p95: error of interpolating all samples between those kept")
    typer.echo("sources: provenance in the profile's YAML, and --json")
    note(f"drawn in {' and '.join(str(file) for file in files)}")


@app.command()
def compare(
    first: Name,
    second: Annotated[str, typer.Argument(help="The profile to hold against it.", show_default=False)],
    json: Json = False,
) -> None:
    """Print how the second GPU's times compare with the first's, operator by operator.

    Example: tokenyard profiles compare h100_sxm h200_sxm
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.hardware.compare_profiles import compare
    from simulator.hardware.registry import load_profile

    profiles = load_profile(first), load_profile(second)
    rows = compare(*profiles)
    if json:
        print_json({"first": profiles[0].name, "second": profiles[1].name, "ratios": rows})
        return
    shown = [{key: f"{value:.3g}" if isinstance(value, float) else value for key, value in row.items()} for row in rows]
    typer.echo(f"{profiles[1].name} / {profiles[0].name}: rates (more is faster)")
    print_rows([row for row in shown if row["kind"] == "rate"], ["what", "ratio"])
    if times := [row for row in shown if row["kind"] == "time"]:
        typer.echo(
            f"\n{profiles[1].name} / {profiles[0].name}: times (less is faster), median and 10th to 90th percentile"
        )
        print_rows(times, ["what", "library", "ratio", "low", "high", "points"])
    else:
        typer.echo("\nno operator was measured on both")


@app.command()
def check(name: Name, json: Json = False) -> None:
    """Look for gaps, impossible rates, times that fall as work grows, and outliers. Exits 1 if there is an error.

    Example: tokenyard profiles check my_gpu.yaml
    """
    from simulator.cli.output import print_json
    from simulator.hardware.check_profile import check_profile
    from simulator.hardware.registry import load_profile

    profile = load_profile(name)
    rows = [finding._asdict() for finding in check_profile(profile)]
    errors = sum(row["level"] == "error" for row in rows)
    verdict = f"{profile.name}: {errors} errors, {len(rows) - errors} warnings"
    if json:
        print_json({"profile": profile.name, "errors": errors, "warnings": len(rows) - errors, "findings": rows})
    else:
        for row in rows:
            worst = f", worst: {row['example']}" if row["example"] else ""
            typer.echo(f"{row['level']:<8} {row['where']}: {row['what']} ({row['cells']} cells{worst})")
        typer.echo(verdict)
    if errors:
        raise typer.Exit(1)


@app.command("import")
def import_measurements(
    kind: Annotated[
        str, typer.Argument(help="What they are: aiconfigurator, layer_profiles, nccl_tests, nvbandwidth.")
    ],
    paths: Annotated[list[str], typer.Argument(help="Files or folders; for aiconfigurator also a system it ships.")],
    into: Annotated[Path, typer.Option(help="The profile's YAML, made or added to.", show_default=False)],
    name: Annotated[
        str | None, typer.Option(help="The profile's name; default: the file's.", show_default=False)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="How provenance names the measurements.", show_default=False)
    ] = None,
) -> None:
    """Write measurements into a profile: numbers for people in its YAML, tables in a file beside it.

    Example: tokenyard profiles import nccl_tests all_reduce.json --into my_gpu.yaml
    """
    from simulator.cli.output import check_file, note
    from simulator.hardware.import_profile import import_into

    check_file(into)
    written = import_into(into, kind, paths, name, source)
    note(f"measured: {', '.join(written.sections) or 'no section'}; {written.grids} grids")
    for file in written.files:
        typer.echo(f"{file}")
