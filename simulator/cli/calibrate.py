"""``tokenyard calibrate``: constants from measurements, of a GPU and of an engine; one file a command."""

import typer

from simulator.cli.calibrate_engine import engine
from simulator.cli.calibrate_gpu import gpu
from simulator.cli.calibrate_power import power

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Fit what the simulator rests on to measurements.

    Example: tokenyard calibrate gpu --quick
    """


app.command("gpu")(gpu)
app.command("engine")(engine)
app.command("power")(power)
