"""``tokenyard calibrate gpu``: measure this machine's GPU, or take a recorded run, and make a profile of it."""

from pathlib import Path
from typing import Annotated, Any

import typer

_UNITS = {"B/s": (1e-9, "GB/s"), "FLOP/s": (1e-12, "TFLOP/s")}


def gpu(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer points and samples: a minute or two.")] = False,
    replay: Annotated[
        list[Path] | None,
        typer.Option(help="Measure nothing; take a recorded run (*.jsonl; several: parts of one).", show_default=False),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="The profile's YAML, made or added to; default: in --out.", show_default=False)
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder for the record, plots and the comparison.")] = Path(
        "results/calibration"
    ),
    against: Annotated[
        str | None, typer.Option(help="Profile to compare with; default: a shipped one of this GPU.")
    ] = None,
    allow_busy: Annotated[bool, typer.Option("--allow-busy", help="Measure although others use the GPU.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Measure this machine's GPU and make a profile of it: rooflines, tables, memory, links, power.

    A run cut short goes on where it ended when called again. Exits 1 without a GPU.

    Example: tokenyard calibrate gpu --quick --into my_gpu.yaml
    """
    from simulator.cli.output import check_file, check_writable, note, print_json
    from simulator.hardware.compare_run import ceilings, compare_run
    from simulator.hardware.import_profile import import_into
    from simulator.hardware.plot_profile import plot_profile
    from simulator.hardware.plot_run import plot_run
    from simulator.hardware.recorded_run import read_run

    if into is not None:
        check_file(into)
    check_writable(out)
    if not replay:
        # Apart, because a full run would keep what a quick one has measured already.
        replay = [out / ("quick.jsonl" if quick else "run.jsonl")]
        _measure(replay[0], quick=quick, allow_busy=allow_busy)
    records = [str(path) for path in replay]
    run = read_run(records)
    profile_file = into or out / f"{_slug(run.gpu)}.yaml"
    shipped = _shipped(run, against)
    written = import_into(profile_file, "microbench", records)
    files = [*written.files, *plot_profile(written.profile, out), out / f"{written.profile.name}-run.png"]
    plot_run(run, written.profile, shipped, files[-1])
    answer: dict[str, Any] = {
        "gpu": run.gpu,
        "profile": str(profile_file),
        "against": shipped.name if shipped else None,
        "results": len(run.results),
        "errors": len(run.errors),
        "cut_short": run.cut_short,
        "throttled": run.throttled,
        "ceilings": ceilings(run, shipped),
        "fit": compare_run(run, written.profile, rooflines_only=True),
        "operators": compare_run(run, shipped) if shipped else [],
        "notes": run.notes,
        "files": [str(file) for file in files],
    }
    if json:
        print_json(answer)
        return
    _print(answer)
    for file in files:
        note(f"wrote {file}")


def _measure(record: Path, *, quick: bool, allow_busy: bool) -> None:
    """Run the harness; exits as it does, which has said why by then."""
    import subprocess
    import sys

    from simulator.core.data import data_dir

    words = [sys.executable, str(data_dir("hardware_profiles") / "microbench" / "run.py"), "--out", str(record)]
    words += ["--quick"] * quick + ["--allow-busy"] * allow_busy
    status = subprocess.run(words, check=False).returncode
    if status != 0:
        raise typer.Exit(status if status in (1, 2, 130) else 1)


def _shipped(run: Any, against: str | None) -> Any:
    from simulator.hardware.compare_run import profile_of
    from simulator.hardware.registry import known_profiles, load_profile

    return load_profile(against) if against else profile_of(run, map(load_profile, known_profiles()))


def _slug(gpu_name: str) -> str:
    letters = "".join(letter if letter.isalnum() else "_" for letter in gpu_name.lower())
    return "_".join(part for part in letters.split("_") if part)


def _print(answer: dict[str, Any]) -> None:
    from simulator.cli.output import print_rows

    against = answer["against"]
    typer.echo(f"{answer['gpu']}: {answer['results']} results, {answer['errors']} errors")
    if answer["cut_short"]:
        typer.echo("The run was cut short: call again without --replay and it goes on.")
    if answer["throttled"]:
        typer.echo(f"{answer['throttled']} results were taken on a throttled GPU and are left out.")
    for text in answer["notes"]:
        typer.echo(f"note: {text}")
    typer.echo(f"\nhighest rates{f', and what {against} states' if against else ' (no shipped profile of this GPU)'}")
    print_rows([_rates(row) for row in answer["ceilings"]], ["what", "measured", "profile", "ratio"])
    columns = ["operator", "type", "rests_on", "points", "ratio", "low", "high"]
    typer.echo("\nmeasured over the fitted rooflines: median, 10th and 90th percentile")
    print_rows([_ratios(row) for row in answer["fit"]], columns)
    if answer["operators"]:
        typer.echo(f"\nmeasured over the profile {against}: above 1 this GPU took longer")
        print_rows([_ratios(row) for row in answer["operators"]], columns)


def _rates(row: dict[str, Any]) -> dict[str, Any]:
    scale, unit = _UNITS[row["unit"]]
    shown = {name: f"{row[name] * scale:.4g} {unit}" if row[name] else "" for name in ("measured", "profile")}
    return row | shown | {"ratio": f"{row['ratio']:.2f}" if row["ratio"] else ""}


def _ratios(row: dict[str, Any]) -> dict[str, Any]:
    return row | {name: f"{row[name]:.2f}" for name in ("ratio", "low", "high")}
