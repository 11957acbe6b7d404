"""The verb that shows an app as a web page, for as long as somebody wants to look."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, say, verb

PORT = 8428
MAX_PORT = 65_535


def add_observe(cli: typer.Typer) -> None:
    """Adds this verb to the command."""
    cli.command()(observe)


@verb
def observe(
    app: Annotated[str | None, typer.Argument(help="The name of the app; needless where one alone runs here.")] = None,
    host: Annotated[str, typer.Option(help="The address to listen at; others than loopback let other machines in.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=MAX_PORT, help="The port; 0 for any that is free.")] = PORT,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token for those who may act; one is made otherwise.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")] = None,
    as_json: AsJson = False,
) -> int:
    """Show a running app as a web page, live, until Ctrl-C: tree, what happens, what waits, traces, cost.

    The page may be looked at from this machine; whoever is to approve, restart, kill or requeue opens the link with the
    token. With a --host that other machines reach, a look needs the token too.
    """
    import asyncio

    from regrow.cluster import cli_calls
    from regrow.cluster.config import Settings
    from regrow.cluster.observer_access import is_loopback

    name = app if app is not None else cli_calls.only_app()
    cli_calls.seen(name)  # one that does not run, or does not answer, is told now and not by an empty page
    server = _server()
    token = server.token_from(token_file) if token_file is not None else None
    settings = Settings.load(config)

    with server.listening(host, port) as listener:
        observer = server.Observer(name, host=host, listener=listener, token=token, settings=settings)
        place = observer.place
        if as_json:
            print_json({"app": name, "url": place.url, "link": place.link})
        else:
            typer.echo(place.link)
        if token is None:
            say("whoever has this link may approve, restart, kill and requeue; keep it to yourself")
        if not is_loopback(host):
            say("other machines can ask here, and what is sent can be read on the way; put a proxy with TLS before it")
        say(f"{name} is shown at {place.url} until Ctrl-C")
        try:
            asyncio.run(observer.run())
        except KeyboardInterrupt:
            pass  # the way in which it is meant to end
    return 0


def _server() -> ModuleType:
    """The server, whose libraries are an extra. Raises Misuse where they are not installed."""
    try:
        from regrow.cluster import observer_server
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in ("starlette", "uvicorn", "h11"):
            raise
        from regrow.runtime.errors import Misuse

        raise Misuse(f"the page needs {error.name}, which is not installed; pip install 'regrow[observe]'") from error
    return observer_server
