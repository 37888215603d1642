"""Errors a user can cause, and the sentence that helps them out."""

from collections.abc import Iterable
from difflib import get_close_matches


class InputError(Exception):
    """Bad input: the command prints one message and exits 2.

    ``where`` is what a person would open (``file:line:col``, ``file:line`` or a key path); ``hint`` says how to fix it.
    """

    def __init__(self, message: str, *, where: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text} ({self.hint})" if self.hint else text


_MOST_LISTED = 20


def unknown(kind: str, name: str, known: Iterable[str], *, where: str | None = None) -> InputError:
    """Return the error for a name nobody registered, with the nearest known one suggested."""
    options = sorted(known)
    near = get_close_matches(name, options, n=1, cutoff=0.5)
    # A list longer than a person reads is no answer; the listings show it.
    listed = ", ".join(options) if len(options) <= _MOST_LISTED else f"{len(options)} names, see 'tokenyard {kind}s'"
    hint = f"did you mean '{near[0]}'?" if near else f"known: {listed}"
    return InputError(f"unknown {kind} '{name}'", where=where, hint=hint)
