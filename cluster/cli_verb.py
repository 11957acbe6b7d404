"""What all verbs of the `regrow` command have in common: how they end, and what they print.

Results go to stdout, with `--json` as exactly one JSON value; everything else goes to stderr.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, ParamSpec

import typer

from regrow.cluster.entry import EXIT_INTERRUPTED

P = ParamSpec("P")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value on stdout.")]


def verb(function: Callable[P, int]) -> Callable[P, None]:
    """A verb that gives its exit code; errors become one sentence and a code."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            code = function(*args, **kwargs)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever reads our output has seen enough; the flush at exit must not complain about that.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = 0
        except KeyboardInterrupt:
            say("interrupted")
            code = EXIT_INTERRUPTED
        except Exception as error:  # a person gets a sentence and a code, whatever happened
            code = _told(error, as_json=bool(kwargs.get("as_json")))
        raise typer.Exit(code)

    return guarded


def _told(error: Exception, *, as_json: bool) -> int:
    """Tells what went wrong; the exit code for it."""
    from regrow.cluster.control_client import EXIT_BUG, exit_code_of
    from regrow.cluster.errors import AppNotStarted, ControlError

    code = exit_code_of(error)
    text = str(error)
    if isinstance(error, AppNotStarted) and error.cause.place:
        text += f" ({error.cause.place})"
    if code == EXIT_BUG:
        text = f"this is a bug of Regrow, please report it with what follows: {type(error).__name__}: {text}"
    for line in (text, *getattr(error, "__notes__", ())):
        say(line)
    if code == EXIT_BUG:
        traceback.print_exception(error)
    if as_json:
        name = error.type_name if isinstance(error, ControlError) else type(error).__name__
        print_json({"error": {"type": name, "text": text, "exit_code": code}})
    return code


def say(text: str) -> None:
    """One line for the person, on stderr."""
    from regrow.cluster.printable import printable_lines

    typer.echo(f"regrow: {printable_lines(text)}", err=True)


def print_json(value: object) -> None:
    """The one JSON value of a verb, on stdout."""
    typer.echo(json.dumps(value, ensure_ascii=False))
