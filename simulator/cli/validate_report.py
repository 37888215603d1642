"""``tokenyard validate report``: all validations on one page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer


def report(
    data: Annotated[Path, typer.Option(help="Folder with the measured data.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The page to write; its pictures go into images/ beside it.")],
    left_out: Annotated[
        Path | None, typer.Option(help="JSON of the calibration: errors on groups that were left out of the fit.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes to simulate in; default: one a core.")] = None,
) -> None:
    """Run all validations and write a page on how right the simulator is.

    DATA may hold serving_points.csv, open_loop_points.csv, saturated_points.csv and request_runs/; what is missing is
    left out.

    Example: tokenyard validate report --data measured --out docs/fidelity.md
    """
    import simulator
    from simulator.cli.output import check_file
    from simulator.core.errors import InputError
    from simulator.experiment.validation import open_loop, points, requests, saturated
    from simulator.report.fidelity_page import fidelity_page
    from simulator.report.fidelity_plot import write_scatter

    check_file(out)
    calibration = None if left_out is None else _read(left_out)
    found = {
        "points": _run(data / "serving_points.csv", points.validate_points, "points", workers),
        "requests": _run(data / "request_runs", requests.validate_requests, "runs", workers),
        "open_loop": _run(data / "open_loop_points.csv", open_loop.validate_open_loop, "open-loop runs", workers),
        "saturated": _run(data / "saturated_points.csv", saturated.validate_saturated, "saturated points", workers),
    }
    if not any(found.values()):
        raise InputError("no measured data here", where=str(data), hint="it holds serving_points.csv or request_runs/")
    drawn = [(found[kind] or {}).get("points", []) for kind in ("points", "saturated")]
    scatter = out.parent / "images" / f"{out.stem}.png"
    if any(drawn):
        scatter.parent.mkdir(exist_ok=True)
        write_scatter(drawn[0], drawn[1], scatter)
    page = fidelity_page(
        command=f"tokenyard validate report --data DATA --out {out}",
        version=simulator.__version__,
        scatter=f"images/{scatter.name}" if any(drawn) else None,
        left_out=calibration,
        group_by=points.GROUPS,
        saturated_by=saturated.GROUPS,
        **found,
    )
    out.write_text(page, encoding="utf-8")
    typer.echo(str(out))


def _run(path: Path, validate: Callable[..., dict[str, Any]], what: str, workers: int | None) -> dict[str, Any] | None:
    from simulator.cli.point_progress import PointProgress

    if not path.exists():
        return None
    with PointProgress(what) as progress:
        return validate(path, workers=workers, progress=progress)


def _read(path: Path) -> dict[str, Any]:
    from simulator.core.errors import InputError

    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read this calibration: {error}", where=str(path)) from None
    if not isinstance(value, dict) or not isinstance(value.get("leave_one_out"), list):
        raise InputError("has no list 'leave_one_out'", where=str(path))
    return value
