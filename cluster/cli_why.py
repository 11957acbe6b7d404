"""The verb `why`: how an agent died, what was decided and lost, and what to do next."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, verb


def add_why(cli: typer.Typer) -> None:
    """Adds the verb to the command."""
    cli.command()(why)


@verb
def why(
    agent: Annotated[str, typer.Argument(metavar="APP/AGENT", help="Such as hello/greet; an app by its name alone.")],
    config: Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")] = None,
    as_json: AsJson = False,
) -> int:
    """Say why an agent died: its last messages, what its supervisor decided, what was lost, what to do next.

    It is read from the data folder, so that this works when the agent, its host or the app is gone.
    """
    from regrow.cluster import why_views
    from regrow.cluster.config import Settings
    from regrow.cluster.past_incidents import found_of
    from regrow.cluster.why_told import told

    found = found_of(Settings.load(config), agent)
    if as_json:
        print_json(told(found))
    else:
        why_views.show(found, to=sys.stdout)
    return 0
