"""The verbs about what happened: the traces that were recorded, and one of them as a tree."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, say, verb

LIMIT = 20
"""How many traces are listed unless it is said."""

Config = Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")]


def add_traces(cli: typer.Typer) -> None:
    """Adds these verbs to the command."""
    cli.command()(traces)
    cli.command()(trace)


@verb
def traces(
    app: Annotated[str | None, typer.Argument(help="The name of one app; all whose data lies here otherwise.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many traces at most, the newest ones.")] = LIMIT,
    config: Config = None,
    as_json: AsJson = False,
) -> int:
    """List the traces that were recorded, newest last: when, from where, how long, what they cost, what failed.

    They are read from the data folder, so that this works when the app is gone. While an app runs it works from every
    folder.
    """
    from regrow.cluster import past_traces, trace_views
    from regrow.cluster.config import Settings
    from regrow.cluster.trace_tree import summary_json

    settings = Settings.load(config)
    files = past_traces.files_of(settings, app) or past_traces.files_anywhere(settings, app)
    found, left_out = past_traces.latest(files, limit=limit)
    if as_json:
        print_json({"traces": [summary_json(each) for each in found], "left_out": left_out})
    elif found:
        trace_views.show_traces(found, left_out, to=sys.stdout)
    else:
        of = f"of {app} " if app is not None else ""
        say(
            f"no traces {of}were recorded here; switch them on ([tracing] enabled = true in regrow.toml), run the app "
            "from this folder, or name its config with --config"
        )
    return 0


@verb
def trace(
    id: Annotated[str, typer.Argument(metavar="ID", help="The trace, or the beginning of its id.")],
    config: Config = None,
    as_json: AsJson = False,
) -> int:
    """Draw one trace as a tree: each message, model, tool and search, with time, tokens, cost and errors."""
    from regrow.cluster import past_traces, trace_views
    from regrow.cluster.config import Settings
    from regrow.cluster.trace_tree import span_json, summary_json, summary_of, tree_of

    rows = past_traces.spans_of(past_traces.files_anywhere(Settings.load(config)), id)
    if as_json:
        print_json({**summary_json(summary_of(rows)), "spans": [span_json(row) for row in rows]})
    else:
        trace_views.show_trace(summary_of(rows), tree_of(rows), to=sys.stdout)
    return 0
