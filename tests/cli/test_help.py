"""Help is instant and every command shows how it is called."""

import re
import subprocess
import sys

import pytest
import typer.main

from simulator import __version__
from simulator.cli.main import app_of, main

HEAVY = ("numpy", "pandas", "matplotlib", "plotly", "pyarrow", "simpy", "pydantic", "yaml", "rich", "pooch")


def commands(group, path=()):
    """Yield the words of every command and group, top down."""
    yield path
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


COMMANDS = list(commands(typer.main.get_command(app_of())))


def output(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main(list(args))
    assert end.value.code in (0, None)
    return capsys.readouterr().out


def test_help_loads_no_heavy_library():
    script = (
        "import sys\n"
        "from simulator.cli.main import main\n"
        "try:\n"
        "    main(['--help'])\n"
        "except SystemExit:\n"
        "    import resource\n"
        "    used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "    print('loaded:', *{name.partition('.')[0] for name in sys.modules})\n"
        "    print('cpu:', used.ru_utime + used.ru_stime)\n"
    )
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "Usage: tokenyard" in shown
    loaded = re.search("loaded: (.*)", shown)[1].split()
    assert not set(HEAVY) & set(loaded)
    assert float(re.search("cpu: (.*)", shown)[1]) < 0.4


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_help_has_an_example_of_that_command(capsys, words):
    shown = " ".join(output(capsys, *words, "--help").split())
    assert f"Example: tokenyard {' '.join(words)}".strip() in shown


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_option_is_explained(capsys, words):
    lines = output(capsys, *words, "--help").splitlines()
    start = lines.index("Options:") + 1
    block = "\n".join(lines[start:]).split("\n\n")[0]
    for option in re.split(r"\n  (?=-)", "\n" + block)[1:]:
        assert len(re.split(r"\s{2,}|\n", option.strip(), maxsplit=1)) == 2, f"no help for {option!r}"


def test_the_commands_are_those_documented():
    traces = {f"traces {name}" for name in ("list", "fetch", "describe", "fit", "export")}
    others = {"run", "schema", "policies", "models", "profiles", "validate schedules"}
    assert traces | others <= {" ".join(words) for words in COMMANDS}


def test_version(capsys):
    assert output(capsys, "--version").startswith(f"tokenyard {__version__}\nsimulation loop: ")
