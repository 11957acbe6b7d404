"""The `regrow` command: new, run, ps, tree, ask, dead-letters, kill, history, traces, stop, doctor and others.

Results go to stdout, with `--json` as exactly one JSON value; progress, logs and errors go to stderr.

Exit codes: 0 it is done, which an app stopped by Ctrl-C, SIGTERM or `regrow stop` is; 1 the app ended
abnormally, or doctor found something bad; 2 something you can mend, said in one sentence; 70 a bug of
Regrow, with its traceback; 128 + the signal's number when interrupted before there was anything to stop.

Everything heavy is imported where it is used, since whoever asks for the version should not wait for it.
"""

from __future__ import annotations

import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from regrow.cluster.cli_decide import add_decisions
from regrow.cluster.cli_mcp import add_mcp
from regrow.cluster.cli_observe import add_observe
from regrow.cluster.cli_skills import add_skills
from regrow.cluster.cli_top import add_top
from regrow.cluster.cli_traces import add_traces
from regrow.cluster.cli_verb import AsJson, print_json, say, verb
from regrow.cluster.cli_why import add_why
from regrow.cluster.entry import EXIT_INTERRUPTED

if TYPE_CHECKING:
    from regrow.cluster.tree import TreeNode

STOP_TIMEOUT_S = 60.0
"""Enough for a tree of some agents that each take their default 10 s, services included."""

DEED_TIMEOUT_S = 60.0
"""As in `deeds`, which is not loaded for a look at the help."""

_cli = typer.Typer(
    name="regrow",
    help="Run agents under supervision. What dies grows back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # rich takes longer to import than everything else here
    pretty_exceptions_enable=False,
)


class EngineChoice(StrEnum):
    """The engines, as `--engine` takes them."""

    INLINE = "inline"
    RAY = "ray"


Config = Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")]


Agent = Annotated[str, typer.Argument(metavar="APP/AGENT", help="Such as hello/greet; `regrow ps` shows them.")]
Timeout = Annotated[float, typer.Option("--timeout", help="How many seconds to wait.")]


def main() -> NoReturn:
    """The command line itself; the script begins in `entry`."""
    try:
        _cli()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)


@_cli.callback(invoke_without_command=True)
def _options(
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version:
        from importlib.metadata import version as version_of

        typer.echo(f"regrow {version_of('regrow')}")
        raise typer.Exit


@_cli.command()
@verb
def new(
    name: Annotated[str, typer.Argument(help="The name of the app and its folder.")], as_json: AsJson = False
) -> int:
    """Make a folder with an app that runs, its config and its test."""
    from regrow.cluster.scaffold import make_app

    files = make_app(name, Path())
    if as_json:
        print_json({"app": name, "folder": str(files[0].parent), "files": [str(file) for file in files]})
        return 0
    for file in files:
        typer.echo(str(file))
    say(f"now: cd {name} && python {name}.py, and then: regrow run {name}:app")
    return 0


@_cli.command()
@verb
def run(
    target: Annotated[str, typer.Argument(metavar="MODULE:APP", help="Such as hello:app for `app` in hello.py.")],
    engine: Annotated[EngineChoice | None, typer.Option(help="What runs it; the config says otherwise.")] = None,
    config: Config = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart agents whose code has changed; a changed tree starts anew.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Run an app until its root ends; Ctrl-C stops it in order."""
    from contextlib import nullcontext, redirect_stdout

    from regrow.cluster import cli_run, views

    def show(app: str, engine_name: str, tree: tuple[TreeNode, ...]) -> None:
        say(f"{app} runs on {engine_name}, as process {os.getpid()}")
        views.show_tree([node.model_dump(mode="json") for node in tree], to=sys.stderr)
        say(f"look at it with: regrow ps {app} — stop it with Ctrl-C or: regrow stop {app}")

    # What agents print would spoil the one JSON value.
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        ended = cli_run.run(
            target, engine=engine.value if engine else None, config=config, reload=reload, say=say, show=show
        )
    say(f"{ended.app} ended: {ended.told}")
    if ended.exit_code:
        say(f"what led to that is told by: regrow why {ended.app}")
    if as_json:
        reason = ended.told.model_dump(mode="json")
        print_json({"app": ended.app, "engine": ended.engine, "reason": reason, "text": str(ended.told)})
    return ended.exit_code


@_cli.command()
@verb
def ps(
    app: Annotated[str | None, typer.Argument(help="The name of one app; all that run here otherwise.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Look again each second, until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> int:
    """Show the supervision trees of the apps that run here.

    With --watch into a file or pipe, and with --json, a frame is printed for each change: one JSON value a line.
    """
    from datetime import UTC, datetime

    from regrow.cluster import cli_calls

    if watch:
        from regrow.cluster import cli_watch

        with cli_watch.screen_for(sys.stdout, one_app=app is not None, as_json=as_json) as screen:
            cli_watch.watch(app, screen)
        return 0
    found = [cli_calls.seen(app)] if app is not None else cli_calls.all_seen()
    if as_json:
        print_json(found[0] if app is not None else found)
        return 0
    if not found:
        say("no app is running here; start one with: regrow run MODULE:APP")
        return 0
    from regrow.cluster import views

    for entry in found:
        views.show_app(entry, entry["tree"], to=sys.stdout, now=datetime.now(UTC))
    return 0


@_cli.command()
@verb
def tree(app: Annotated[str, typer.Argument(help="The name of the app.")], as_json: AsJson = False) -> int:
    """Draw an app's supervision tree: how each supervisor restarts, and how each child has fared."""
    from regrow.cluster import cli_calls, views

    roots = cli_calls.tree_of(app)
    if as_json:
        print_json(roots)
    else:
        views.show_branches(roots, to=sys.stdout)
    return 0


@_cli.command(name="dead-letters")
@verb
def dead_letters(app: Annotated[str, typer.Argument(help="The name of the app.")], as_json: AsJson = False) -> int:
    """Show the messages that nobody handled: counted by reason, and the latest ones."""
    from regrow.cluster import cli_calls, views

    told = cli_calls.dead_letters(app)
    if as_json:
        print_json(told)
    else:
        views.show_letters(told, to=sys.stdout)
    return 0


@_cli.command()
@verb
def kill(agent: Agent, timeout_s: Timeout = DEED_TIMEOUT_S, as_json: AsJson = False) -> int:
    """Kill an agent without asking it; its supervisor starts it again.

    Others see it as Killed. On Ray an agent that is alone in its process dies with it, by SIGKILL.
    """
    return _do("kill", agent, timeout_s, as_json=as_json)


@_cli.command()
@verb
def restart(agent: Agent, timeout_s: Timeout = DEED_TIMEOUT_S, as_json: AsJson = False) -> int:
    """Have an agent stopped in order and started anew by its supervisor; also one that does not run.

    AGENT may be a supervisor, which takes all below it along.
    """
    return _do("restart", agent, timeout_s, as_json=as_json)


def _do(deed: str, agent: str, timeout_s: float, *, as_json: bool) -> int:
    from regrow.cluster import cli_calls, views

    done = cli_calls.done_to(agent, deed, timeout_s=timeout_s)
    if as_json:
        print_json(done)
    else:
        typer.echo(views.deed_text(done))
    came_to_what_was_meant = done["state"] == "running" or (deed == "kill" and done["state"] == "gone")
    return 0 if came_to_what_was_meant else 1


@_cli.command(context_settings={"ignore_unknown_options": True})
@verb
def ask(
    agent: Agent,
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MESSAGE]…", help="The message: one JSON object, or words, or FIELD=WORD."),
    ] = None,
    type_name: Annotated[str, typer.Option("--type", help="Which request, if the agent answers several.")] = "",
    timeout_s: Timeout = 30.0,
    as_json: AsJson = False,
) -> int:
    """Ask an agent of a running app, and print its reply."""
    from regrow.cluster import cli_calls, views
    from regrow.cluster.errors import ControlError

    try:
        answer = cli_calls.asked(agent, words or [], type_name=type_name, timeout_s=timeout_s)
    except ControlError as error:
        if error.type_name in ("AskFailed", "AskTimeout"):
            error.add_note(f"what led to that is told by: regrow why {agent}")
        raise
    if as_json:
        print_json(answer)
    else:
        views.show_reply(answer["reply"], to=sys.stdout)
    return 0


@_cli.command()
@verb
def stop(
    app: Annotated[str, typer.Argument(help="The name of the app.")],
    timeout_s: Timeout = STOP_TIMEOUT_S,
    as_json: AsJson = False,
) -> int:
    """Stop an app in order, and wait until it has stopped."""
    from regrow.cluster import control_client
    from regrow.cluster.printable import printable

    ended = control_client.call(app, "stop", wait_s=timeout_s)
    if as_json:
        print_json(ended)
    else:
        typer.echo(f"{app} has stopped: {printable(ended['text'])}")
    return 0


add_decisions(_cli)
add_skills(_cli)
add_mcp(_cli)
add_traces(_cli)
add_why(_cli)
add_top(_cli)
add_observe(_cli)


@_cli.command()
@verb
def doctor(config: Config = None, as_json: AsJson = False) -> int:
    """Look at this machine and the config, and say what to mend."""
    from regrow.cluster import logs, views
    from regrow.cluster.config import LogSettings
    from regrow.cluster.doctor import Verdict, examine

    logs.configure(LogSettings(level="error"))  # what it would warn of is among the findings
    findings = []
    for finding in examine(config):
        findings.append(finding)
        if not as_json:
            views.show_findings([finding], to=sys.stdout)
    is_fit = all(finding.verdict is not Verdict.BAD for finding in findings)
    if as_json:
        told = [
            {"subject": each.subject, "verdict": each.verdict.value, "text": each.text, "advice": each.advice}
            for each in findings
        ]
        print_json({"fit": is_fit, "findings": told})
    return 0 if is_fit else 1
