"""The verbs about what durable agents did and what a person decides: history, quarantine, requeue, waits, approve."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, verb

HISTORY_TURNS = 20
"""How many turns are shown unless it is said."""


class AssumeChoice(StrEnum):
    """What `--assume` takes; as in the journal, which is not loaded for a look at the help."""

    DONE = "done"
    UNDONE = "undone"


Message = Annotated[str, typer.Argument(metavar="ID", help="The message: APP/AGENT@COMMAND, as `list` prints it.")]
Of = Annotated[str, typer.Argument(metavar="APP[/AGENT]", help="One app, or one agent of it.")]
Assume = Annotated[
    AssumeChoice | None,
    typer.Option(help="Of steps that were begun and have no result: whether what they do was done."),
]

_quarantine = typer.Typer(
    name="quarantine",
    help="Messages of durable agents that were set aside for a person to decide.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_decisions(cli: typer.Typer) -> None:
    """Adds these verbs to the command."""
    cli.add_typer(_quarantine)
    cli.command()(history)
    cli.command()(requeue)
    cli.command()(waits)
    cli.command(context_settings={"ignore_unknown_options": True})(approve)


@verb
def history(
    agent: Annotated[str, typer.Argument(metavar="AGENT", help="A durable agent: APP/AGENT.")],
    limit: Annotated[int, typer.Option(help="How many turns at most, the newest ones.")] = HISTORY_TURNS,
    as_json: AsJson = False,
) -> int:
    """Show the turns of a durable agent, newest last: what each was about, its steps, how and when it ended.

    As many as the setting `history.turns` are kept, and none longer than `history.age_s`.
    """
    from regrow.cluster import cli_calls, views

    told = cli_calls.history(agent, limit=limit)
    if as_json:
        print_json(told)
    else:
        views.show_turns(told, to=sys.stdout)
    return 0


@_quarantine.command(name="list")
@verb
def list_(of: Of, as_json: AsJson = False) -> int:
    """List the messages that were set aside, longest there first."""
    from regrow.cluster import cli_calls, views

    told = cli_calls.set_aside(of)
    if as_json:
        print_json(told)
    else:
        views.show_set_aside(told, of, to=sys.stdout)
    return 0


@_quarantine.command()
@verb
def show(id: Message, as_json: AsJson = False) -> int:
    """Show one message: what it says, why it was set aside, its failed attempts and its steps."""
    from regrow.cluster import cli_calls, views

    told = cli_calls.decided(id, "show")
    if as_json:
        print_json(told)
    else:
        views.show_one_set_aside(told, to=sys.stdout)
    return 0


@verb
def requeue(id: Message, assume: Assume = None, as_json: AsJson = False) -> int:
    """Have a message handled again; its attempts are counted anew.

    A step that was begun, may not be repeated and has no result sets it aside again: look whether it was done, and
    say so with --assume.
    """
    from regrow.cluster import cli_calls

    told = cli_calls.decided(id, "requeue", assume=assume.value if assume is not None else None)
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{id} is in its agent's mailbox again")
    return 0


_quarantine.command(name="requeue")(requeue)


@_quarantine.command()
@verb
def drop(id: Message, as_json: AsJson = False) -> int:
    """Forget a message for good. Whoever asks under its command id still hears that it was set aside."""
    from regrow.cluster import cli_calls

    told = cli_calls.decided(id, "drop")
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{id} is forgotten")
    return 0


@verb
def waits(of: Of, as_json: AsJson = False) -> int:
    """List the messages whose turns wait for a person's answer, oldest first."""
    from regrow.cluster import cli_calls, views

    told = cli_calls.waits(of)
    if as_json:
        print_json(told)
    else:
        views.show_waits(told, of, to=sys.stdout)
    return 0


@verb
def approve(
    id: Annotated[str, typer.Argument(metavar="ID", help="The message: APP/AGENT@COMMAND, as `waits` prints it.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ANSWER]…", help="The answer: one JSON object, or words, or FIELD=WORD."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Answer what a message waits for; its turn goes on. Without words each field of the answer has its default."""
    from regrow.cluster import cli_calls

    told = cli_calls.approved(id, words or [])
    if as_json:
        print_json(told)
    else:
        typer.echo(f"{id} has its answer: {told['type'].rpartition(':')[2]} {told['answer']}")
    return 0
