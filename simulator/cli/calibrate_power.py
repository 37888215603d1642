"""``tokenyard calibrate power``: fit a GPU's power curve to measured serving runs."""

from pathlib import Path
from typing import Annotated

import typer


def power(
    data: Annotated[Path, typer.Argument(help="CSV of saturated runs with avg_power_watts.", show_default=False)],
    hardware: Annotated[str, typer.Option(help="A hardware profile's name, or the path of its YAML.")] = "h100_sxm",
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Fit what a GPU draws while it serves: base + slope * sqrt(share of its peak FLOP/s).

    The error of each model is that of a fit which never saw the model.

    Example: tokenyard calibrate power saturated_points.csv --hardware h100_sxm
    """
    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.calibration.power import fit_power
    from simulator.hardware.registry import load_profile

    fit = fit_power(data, load_profile(hardware))
    rows = [
        {"model": model, "gpus": gpus, "error": fit.errors[model, gpus], "bias": fit.bias[model, gpus]}
        for model, gpus in fit.errors
    ]
    if json:
        print_json({"base_w": fit.base, "slope_w": fit.slope, "samples": fit.samples, "error": fit.error,
                    "models": rows, "skipped": fit.skipped})  # fmt: skip
        return
    shown = [row | {"error": f"{row['error']:.1%}", "bias": f"{row['bias']:+.1%}"} for row in rows]
    print_rows(shown, ["model", "gpus", "error", "bias"])
    for reason, count in fit.skipped.items():
        typer.echo(f"{count} rows left out: {reason}")
    typer.echo(
        f"base {fit.base:.0f} W, slope {fit.slope:.0f} W, {fit.samples} runs: off by {fit.error:.1%} on unseen models"
    )
