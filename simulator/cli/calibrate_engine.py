"""``tokenyard calibrate engine``: fit an engine's host constants to measured serving runs."""

from pathlib import Path
from typing import Annotated, Any

import typer


def engine(
    name: Annotated[str, typer.Argument(help="An engine profile's name, or the path of its YAML.")] = "vllm",
    data: Annotated[Path, typer.Option(help="Folder of measured files that the recipe names.")] = Path("measured"),
    recipe: Annotated[str | None, typer.Option(help="A recipe's YAML; default: the engine's shipped one.")] = None,
    into: Annotated[Path | None, typer.Option(help="Write the fitted engine profile to this YAML.")] = None,
    leave_one_out: Annotated[
        Path | None, typer.Option(help="Also predict each group by constants that never saw it; write the table here.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Simulations at a time.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
) -> None:
    """Fit what an engine's host adds to the kernels' time, to measured serving runs.

    Every build's constants are fitted as its recipe says: which constants, on which rows of which files.

    Example: tokenyard calibrate engine vllm --data measured --into my_vllm.yaml
    """
    import json as json_module

    from rich.console import Console

    from simulator.cli.output import print_json, print_rows
    from simulator.experiment.calibration.calibrate import Calibrator, with_provenance
    from simulator.experiment.calibration.recipe import load_recipe
    from simulator.hardware.engine_profile import load_engine
    from simulator.hardware.save_engine import save_engine

    console = Console(stderr=True)
    calibrator = Calibrator(
        load_recipe(recipe or name), load_engine(name), data, workers=workers, report=lambda line: console.print(line)
    )
    fitted = calibrator.fit()
    if into is not None:
        command = f"tokenyard calibrate engine {Path(name).stem} --data FOLDER"
        save_engine(with_provenance(fitted, command), into)
    table: list[dict[str, Any]] = []
    if leave_one_out is not None:
        table = calibrator.leave_one_out(fitted.engine)
        leave_one_out.write_text(json_module.dumps({"leave_one_out": table}, indent=1) + "\n", encoding="utf-8")
    if json:
        print_json({"steps": fitted.steps, "leave_one_out": table})
        return
    print_rows([_shown(step) for step in fitted.steps], ["builds", "side", "constants", "figures", "error"])
    if table:
        rows = [
            {key: f"{value:+.1%}" if isinstance(value, float) else value for key, value in row.items()} for row in table
        ]
        print_rows(rows, list(table[0]))


def _shown(step: dict[str, Any]) -> dict[str, Any]:
    constants = ", ".join(f"{name} {_quantity(name, value)}" for name, value in step["constants"].items())
    return step | {"builds": ", ".join(step["builds"]), "constants": constants, "error": f"{step['error']:.1%}"}


def _quantity(name: str, value: float) -> str:
    if name in ("prefill", "decode"):
        return f"{value:.3f}"
    return f"{value * 1e3:.3g} ms" if value >= 1e-3 else f"{value * 1e6:.3g} us"
