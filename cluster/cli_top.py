"""The verb `top`: an app as it lives, with keys."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, verb


def add_top(cli: typer.Typer) -> None:
    """Adds the verb to the command."""
    cli.command()(top)


@verb
def top(
    app: Annotated[str | None, typer.Argument(help="The name of the app; the one that runs here otherwise.")] = None,
    config: Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")] = None,
    as_json: AsJson = False,
) -> int:
    """Watch an app: tree, states, mailboxes, rates, restarts, cost, processes; Enter shows an agent's why, q ends.

    Into a file or pipe, and with --json, it is one look.
    """
    from regrow.cluster import top_screen
    from regrow.cluster.config import Settings

    name = top_screen.app_meant(app)
    if as_json:
        print_json(top_screen.told(top_screen.look_at(name)))
    elif sys.stdout.isatty() and sys.stdin.isatty():
        top_screen.watch(name, Settings.load(config), to=sys.stdout, keys=sys.stdin.fileno())
    else:
        top_screen.show_once(top_screen.look_at(name), to=sys.stdout)
    return 0
