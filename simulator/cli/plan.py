"""``tokenyard plan``: the smallest or cheapest cluster for a load."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 15


def plan(
    file: Annotated[Path, typer.Argument(help="The plan's YAML.", show_default=False)],
    sets: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: objective=gpus. Repeatable."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the plan's folder goes.")] = Path("results"),
    json: Annotated[bool, typer.Option("--json", help="Print plan.json and nothing else.")] = False,
    jobs: Annotated[int | None, typer.Option(min=1, help="Processes; default: one on each core.")] = None,
    show_all: Annotated[bool, typer.Option("--all", help="Show every candidate, not the first 15.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Simulate again what an earlier run left.")] = False,
) -> None:
    """Find the smallest or cheapest cluster that serves a load within its SLO and budget.

    Example: tokenyard plan experiments/capacity/azure_conv.yaml

    OUT/NAME gets winner.yaml (ready for 'tokenyard run'), plan.json and simulations.jsonl. Killed or interrupted, the
    same command goes on where it was. Exits 1 where no candidate will do, or the winner's own run says otherwise.
    """
    from simulator.cli.output import check_writable, note, out_console, print_json
    from simulator.experiment.planning.load_plan import load_plan

    # A policy given as module:Class may live beside where the command is typed.
    sys.path.append(str(Path.cwd()))
    loaded = load_plan(file, sets or [])
    check_writable(out / loaded.spec.name)

    from simulator.experiment.planning.plan import make_plan
    from simulator.experiment.sweeps.workers import Workers

    note(f"{len(loaded.candidates)} candidates")
    try:
        answer = make_plan(loaded, out, Workers(jobs), fresh=force, progress=_Lines())
    except KeyboardInterrupt:
        note("interrupted: run the same command to go on")
        raise typer.Exit(130) from None
    folder = out / loaded.spec.name
    from simulator.report import write_pareto_page

    page = write_pareto_page(answer, folder / "plan.html")
    if json:
        print_json(answer)
    else:
        _print_table(answer, None if show_all else _SHOWN)
        for line in conclusion(answer):
            out_console().print(line, soft_wrap=True)
        typer.echo(f"\nPlan: {folder}\n  {page}")
    confirmed = answer["confirmation"] is not None and answer["confirmation"]["winner"]["meets"]
    if not confirmed:
        raise typer.Exit(1)


class _Lines:
    """A line on stderr when a round begins, one now and then while it goes on."""

    _WORDS = {
        "probe": "rate at the SLO edge of one unit",
        "slice": "size for the busiest stretch",
        "whole": "size for the whole load",
        "confirm": "running the winner and the next smaller cluster",
    }

    def __init__(self) -> None:
        from simulator.cli.point_progress import PointProgress

        self._new = PointProgress
        self._progress = PointProgress("")
        self._round = ""

    def __call__(self, name: str, done: int, total: int) -> None:
        from simulator.cli.output import note

        if done == 0:
            self._progress.__exit__(None, None, None)
            what = self._WORDS.get(name, name)
            if name != self._round:  # Optuna's picks are many small rounds
                note(what if name == "confirm" else f"{what}: {total} candidates")
            self._round = name
            self._progress = self._new(f"candidates ({name})")
        elif done == total:
            self._progress.__exit__(None, None, None)
        else:
            self._progress(done, total)


def _print_table(answer: dict[str, Any], most: int | None) -> None:
    from simulator.cli.output import print_rows

    least = min((each["objective"] for each in answer["candidates"] if each["feasible"]), default=0.0)
    shown = [each for each in answer["candidates"] if each["feasible"]][:most]
    if shown:
        columns = ["rank", "cluster", *_FIGURES, _OBJECTIVE[answer["objective"]]]
        print_rows([_row(each, answer["objective"], least) for each in shown], columns)
    out = [each for each in answer["candidates"] if not each["feasible"]]
    if out:
        typer.echo(f"\nRejected ({len(out)}):")
    for each in out[:most]:
        typer.echo(f"  {each['name']}: {each['reason']}")
    left = len(answer["candidates"]) - len(shown) - len(out[:most])
    if left:
        typer.echo(f"... and {left} more: --all, or plan.json")
    if len(answer["front"]) > 1:
        typer.echo("\nNothing that was tried beats these in cost, TTFT and TPOT together:")
        print_rows([_front_row(each) for each in answer["front"]], ["cluster", *_FIGURES])


_OBJECTIVE = {"cost": "more USD", "gpus": "more GPUs", "power": "more W"}
_FIGURES = ("GPUs", "USD/h", "TTFT p99, ms", "TPOT p99, ms")


def _row(candidate: dict[str, Any], objective: str, least: float) -> dict[str, Any]:
    more = candidate["objective"] / least - 1
    return {
        **_front_row(candidate),
        "rank": candidate["rank"],
        _OBJECTIVE[objective]: f"+{more:.0%}" if more else "",
    }


def _front_row(cluster: dict[str, Any]) -> dict[str, Any]:
    return {**_figures(cluster), "cluster": f"{cluster['units']} x {cluster['name']}"}


def _figures(cluster: dict[str, Any]) -> dict[str, Any]:
    metrics = cluster["metrics"]
    return {
        "GPUs": cluster["gpus"],
        "USD/h": _shown(cluster["cost_per_hour"], ".2f"),
        "TTFT p99, ms": _shown(metrics["p99_ttft_ms"], ",.0f"),
        "TPOT p99, ms": _shown(metrics["p99_tpot_ms"], ".1f"),
    }


def _shown(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def conclusion(answer: dict[str, Any]) -> list[str]:
    """Return the plan's answer in sentences: the winner, its confirmation, and the next smaller cluster."""
    if answer["winner"] is None:
        return ["", "No candidate serves the load within the budget."]
    winner, smaller = answer["confirmation"]["winner"], answer["confirmation"]["smaller"]
    metrics = winner["metrics"]
    lines = ["", f"Winner: {winner['units']} x {answer['winner']} ({_count(winner['gpus'])})"]
    figures = ", ".join(f"{key.removesuffix('_ms').replace('_', ' ')} {_figure(key, metrics[key])} "
                        f"(limit {_figure(key, limit)})" for key, limit in answer["limits"].items())  # fmt: skip
    verdict = "confirmed by a run of its own" if winner["meets"] else "NOT CONFIRMED by a run of its own"
    lines.append(f"  {verdict}: {figures}")
    lines.append(f"  {_spent(metrics)}")
    lines += [f"  {text}" for text in _at_the_edge(answer)]
    if smaller is None:
        lines.append("  One unit is the smallest there can be.")
    elif smaller["meets"]:
        lines.append(f"  The next smaller ({smaller['units']} x) meets the SLO, too: the answer is not the smallest.")
    else:
        lines.append(f"  The next smaller ({smaller['units']} x) fails: {'; '.join(smaller['missed'])}")
    return lines


def _at_the_edge(answer: dict[str, Any]) -> list[str]:
    """Return what one unit of the winner serves at most, by GPU, dollar and joule, as far as it is known."""
    edge = next(each["edge"] for each in answer["candidates"] if each["name"] == answer["winner"])
    if edge is None:
        return []
    parts = [f"{edge['goodput_per_gpu']:.3g} requests/s a GPU"]
    parts += [f"{edge['requests_per_usd']:,.0f} requests a USD"] if edge["requests_per_usd"] else []
    parts += [f"{edge['requests_per_kj']:.3g} requests a kJ"] if edge["requests_per_kj"] else []
    return [f"At the edge of the SLO one unit serves {edge['rate']:.3g} requests/s: {', '.join(parts)}"]


def _count(gpus: int) -> str:
    return "1 GPU" if gpus == 1 else f"{gpus} GPUs"


def _figure(key: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.2%}" if key == "slo_attainment" else f"{value:,.4g} ms"


def _spent(metrics: dict[str, Any]) -> str:
    dollars, joules = metrics["usd_per_million_output_tokens"], metrics["joules_per_output_token"]
    price = "cost unknown" if dollars is None else f"{dollars:.3f} USD per million output tokens"
    energy = "energy unknown" if joules is None else f"{joules:.2f} J per output token"
    return f"{price}, {energy} (docs/costs.md says how sure that is)"
