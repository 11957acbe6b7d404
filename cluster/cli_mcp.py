"""The verbs about MCP servers: what is pinned, what has changed, and consent to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, say, verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from regrow.actors.mcp_lock import Pinned
    from regrow.cluster.mcp_consent import Looked

FOLDED_CHARS = 300
"""Of what a tool says of itself so much is shown where nobody is to consent to it; with --json all of it is."""

Target = Annotated[str, typer.Argument(metavar="MODULE:APP", help="Such as desk:app for `app` in desk.py.")]
Names = Annotated[list[str] | None, typer.Argument(metavar="[SERVER]…", help="Some of its servers; all otherwise.")]

_mcp = typer.Typer(
    name="mcp",
    help="The tools of MCP servers: what somebody has consented to, and what has changed since.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_mcp(cli: typer.Typer) -> None:
    """Adds these verbs to the command."""
    cli.add_typer(_mcp)


@_mcp.command()
@verb
def show(target: Target, servers: Names = None, as_json: AsJson = False) -> int:
    """Show the tools that are pinned. No server is started."""
    from regrow.cluster.mcp_consent import pinned, servers_named

    found = pinned(servers_named(target, servers or ()))
    if as_json:
        print_json([each.told() for each in found])
        return 0
    for each in found:
        state = "" if each.server.is_pinned else ": nothing is pinned"
        typer.echo(f"{each.server.name} ({each.server.options.place}){state}")
        show_tools(each.pinned)
    return 0


@_mcp.command()
@verb
def check(target: Target, servers: Names = None, as_json: AsJson = False) -> int:
    """Start the servers and say what has changed since it was pinned. The exit code is 1 where anything has."""
    from regrow.cluster.mcp_consent import compared, servers_named

    found = compared(servers_named(target, servers or ()))
    if as_json:
        print_json([each.told() for each in found])
    else:
        for each in found:
            _show_changes(each)
    return 0 if all(each.server.is_pinned and not each.changes for each in found) else 1


@_mcp.command()
@verb
def pin(target: Target, servers: Names = None, as_json: AsJson = False) -> int:
    """Start the servers and consent to the tools they have now: what they say is written into mcp.lock.

    Look at them before: `regrow mcp check`. Put mcp.lock under version control, so that each change is seen.
    """
    from regrow.cluster.mcp_consent import compared, consent, servers_named

    found = compared(servers_named(target, servers or ()))
    for each in found:
        consent(each)
    if as_json:
        print_json([each.told() for each in found])
        return 0
    for each in found:
        _show_changes(each)
        say(
            f"{len(each.listed or {})} tools of {each.server.name} are pinned in {each.server.lock}; "
            "an app that runs has them when it is started again"
        )
    return 0


def _show_changes(looked: Looked) -> None:
    server = looked.server
    if not looked.changes:
        typer.echo(f"{server.name} ({server.options.place}): as it was pinned")
    elif not server.is_pinned:
        typer.echo(f"{server.name} ({server.options.place}): nothing was pinned")
        show_tools(looked.listed or {}, whole=True)
    else:
        typer.echo(f"{server.name} ({server.options.place}): changed")
        for each in looked.changes:
            typer.echo(f"  {each}")
            for word, pins in (("was", looked.pinned), ("is", looked.listed or {})):
                if each.tool in pins:
                    show_tools({each.tool: pins[each.tool]}, word=f"{word} ", whole=True)
    for text in looked.unfit:
        typer.echo(f"  can not be used: {text}")


def show_tools(tools: Mapping[str, Pinned], *, word: str = "", whole: bool = False) -> None:
    """One line for each tool; `whole` where somebody is to consent to it: then all that a model would read of it."""
    for name, tool in sorted(tools.items()):
        properties = tool.schema.get("properties")
        takes = ", ".join(properties) if isinstance(properties, dict) else ""
        said = printable(tool.description)
        typer.echo(f"  {word}{printable(name)}({printable(takes)}): {said if whole else folded(said)}")
        for part, schema in (("input", tool.schema), ("output", tool.output)) if whole else ():
            if schema:
                typer.echo(f"      {part} {printable(json.dumps(schema, ensure_ascii=False))}")


def folded(text: str) -> str:
    """The beginning of a long text, and how much of it is left out."""
    if len(text) <= FOLDED_CHARS:
        return text
    return f"{text[:FOLDED_CHARS]}… {len(text) - FOLDED_CHARS:,} more characters, see --json"


def printable(text: str) -> str:
    """A server's text in one line; what could steer a terminal, or would not be seen, stands there as an escape."""
    return "".join(
        " " if sign in "\n\t\r" else sign if sign.isprintable() else sign.encode("unicode_escape").decode()
        for sign in text
    )
