"""The entry point: which commands there are, and what each kind of failure exits with.

0 done; 1 the run or the check failed, or its output could not be delivered (full disk, reader gone); 2 bad input;
130 interrupted, with what had finished written.
"""

import errno
import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import NoReturn

import typer

from simulator import __version__
from simulator.compiled import is_compiled

# Each command and the module that has it: a function of the command's name, or an app of further commands. In an order
# of their own, which is that of the help.
_COMMANDS = {
    "run": "run",
    "compare": "compare",
    "timeline": "timeline",
    "inspect": "inspect",
    "plan": "plan",
    "reproduce": "reproduce",
    "schema": "schema",
    "policies": "listings",
    "models": "listings",
    "profiles": "profiles",
    "traces": "traces",
    "techniques": "techniques",
    "validate": "validate",
    "calibrate": "calibrate",
}

# A full or read-only disk is no bug: these errors need no traceback.
_NOT_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"tokenyard {__version__}")
        typer.echo(f"simulation loop: {'compiled' if is_compiled() else 'Python'}")
        raise typer.Exit


def _options(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def app_of(commands: Iterable[str] = tuple(_COMMANDS)) -> typer.Typer:
    """Return the app of some commands, all of them without; only their modules are loaded."""
    app = typer.Typer(
        name="tokenyard",
        help="Simulate LLM serving clusters: real traces in, latency, goodput and plots out.\n\n"
        "Example: tokenyard run experiments/quickstart.yaml",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in commands:
        module = import_module(f"simulator.cli.{_COMMANDS[name]}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
    return app


def main(args: Sequence[str] | None = None) -> None:
    """Run a command and exit; a user's mistake is one message on stderr, never a traceback."""
    words = list(sys.argv[1:] if args is None else args)
    # A command does without the others, 20 CPU ms.
    app = app_of(words[:1]) if words and words[0] in _COMMANDS else app_of()
    try:
        app(words, prog_name="tokenyard")
    except SystemExit as end:
        _finish(end)
    except BrokenPipeError:
        _go_quietly()
    except Exception as error:
        _explain(error)
        raise


def _explain(error: Exception) -> None:
    """Exit with a message if the error is a person's or the machine's to solve; return if it is ours."""
    # Imported here because its package loads numpy, which help and usage errors do without.
    from simulator.core.errors import InputError

    if isinstance(error, InputError):
        _fail(f"Error: {error}", 2)
    if isinstance(error, OSError) and error.errno in _NOT_OURS:
        _fail(f"Error: {error.filename or 'output'}: {error.strerror}", 1)


def _finish(end: SystemExit) -> None:
    try:
        # What is still buffered would otherwise fail while the interpreter shuts down, with a traceback.
        sys.stdout.flush()
    except BrokenPipeError:
        _go_quietly()
    except OSError as error:
        _fail(f"Error: cannot write the output: {error.strerror}", 1)
    raise end


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(message, err=True)
    raise SystemExit(code) from None


def _go_quietly() -> NoReturn:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(1)


if __name__ == "__main__":
    main()
