"""The verbs about skills: which there are, and whether their tests pass."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from regrow.cluster.cli_verb import AsJson, print_json, say, verb

Config = Annotated[Path | None, typer.Option(help="The config file; regrow.toml in this folder otherwise.")]

_skills = typer.Typer(
    name="skills",
    help="What agents of this folder know how to do: skills/ here, and the folder skills_dir of the config.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


def add_skills(cli: typer.Typer) -> None:
    """Adds these verbs to the command."""
    cli.add_typer(_skills)


@_skills.command(name="list")
@verb
def list_(config: Config = None, as_json: AsJson = False) -> int:
    """List the skills that are here, with their tools; of one that is broken, what is wrong with it."""
    from regrow.cluster.config import Settings
    from regrow.cluster.skill_shelf import places, shelved

    settings = Settings.load(config)
    found = shelved(settings)
    if as_json:
        print_json([asdict(each) for each in found])
    elif not found:
        say(f"there are no skills in {' or '.join(map(str, places(settings)))}")
    else:
        for each in found:
            typer.echo(f"{each.name}@{each.version or '?'}  {each.description or each.problem}")
            if each.tools:
                typer.echo(f"  tools: {', '.join(each.tools)}")
    return 1 if any(each.problem for each in found) else 0


@_skills.command(name="test")
@verb
def run_own_tests(
    name: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The skill.")],
    config: Config = None,
    as_json: AsJson = False,
) -> int:
    """Load a skill and run its own tests with pytest."""
    from regrow.cluster.config import Settings
    from regrow.cluster.skill_shelf import run_tests

    came = run_tests(name, Settings.load(config))
    if as_json:
        print_json(asdict(came))
    else:
        typer.echo(came.output, nl=False)
    return 0 if came.passed else 1
