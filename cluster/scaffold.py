"""`regrow new`: a folder with an app that runs, its test, its config and what to do next."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shutil
import sys
from pathlib import Path

from regrow.runtime.errors import Misuse, WorldBroke

APP = '''\
"""The app: a supervisor and what it looks after. Run it with `regrow run {name}:app`."""

from regrow import App, Supervisor, agent, child


@agent  # a plain function is an agent; its message is made from its signature
async def greet(name: str) -> str:
    """Greets. Put here what your agent does."""
    return f"hello {{name}}"


app = App(
    "{name}",
    # A crashed child is started again, at most three times within five seconds.
    Supervisor(
        strategy="one_for_one",
        max_restarts=3,
        within_s=5.0,
        children=[child(greet, id="greet")],
    ),
)

if __name__ == "__main__":
    print(app.ask(greet, "world"))
'''

TEST = '''\
"""Runs the app in this process on a clock that jumps: `pytest`. The same on Ray: `pytest --regrow-engine=ray`."""

import pytest
from {name} import app, greet

from regrow import AskFailed
from regrow.testing import TestApp


async def test_greet_says_hello(test_app: type[TestApp]) -> None:
    async with test_app(app) as t:
        assert await t.ask(greet, "world") == "hello world"


async def test_greet_grows_back(test_app: type[TestApp]) -> None:
    async with test_app(app) as t:
        await t.kill("greet")
        t.crash_on(greet)
        with pytest.raises(AskFailed):
            await t.ask(greet, "nobody")
        await t.settled()

        assert t.restarts("greet") == 2
        assert await t.ask(greet, "world") == "hello world"
'''

CONFIG = """\
# Settings of the apps that are run in this folder. What is commented out is the default. The environment wins:
# REGROW_ENGINE=ray, REGROW_LOG__LEVEL=debug. A key that nobody knows is an error. Check with: regrow doctor

# engine = "inline"          # "inline": one process; "ray": hosts of their own, supervised on Ray
# data_dir = ".regrow/{name}"
# skills_dir = "shared/skills"   # skills that are not in `skills` beside the code

[log]
# level = "info"             # debug, info, warning, error
# format = "console"         # or "json"

[redis]
# url = "redis://:password@host:6379/0"   # without it a server is started when it is needed
# cluster = true             # where that one belongs to a Redis Cluster
# appendfsync = "always"     # or "everysec", which is faster and may lose a second of work
# replicas = 1               # how many of its replicas must have what durable agents acknowledge

[ray]
# address = "127.0.0.1:6379" # without it a local Ray is started
# num_cpus = 4               # without it all of them

[memory]
# store = "redis"            # or "memory", which forgets at the end

# Models: without these lines a small extractive one that needs no network. Keys stay in the environment.
# [models.small]
# provider = "openai"        # any server that speaks this protocol
# model = "gpt-4.1-mini"
# base_url = "https://api.openai.com/v1"
# api_key_env = "OPENAI_API_KEY"
# [models.large]
# provider = "openai"
# model = "gpt-4.1"
"""

README = """\
# {name}

Agents under supervision, with Regrow.

| what | command |
|---|---|
| one answer, no Ray | `python {name}.py` |
| run it until Ctrl-C | `regrow run {name}:app` |
| the same on Ray, one process for each agent | `regrow run {name}:app --engine ray` |
| look at it, from another terminal | `regrow ps` |
| ask an agent | `regrow ask {name}/greet world` |
| stop it | `regrow stop {name}` |
| test it, kills and crashes included | `pytest` |
| the same tests on Ray | `pytest --regrow-engine=ray` |
| is this machine fit? | `regrow doctor` |

`{name}.py` holds the app, `regrow.toml` its settings, `test_{name}.py` its test.
"""

_NAME = re.compile(r"[a-z_][a-z0-9_]*", re.IGNORECASE)


def make_app(name: str, parent: Path) -> tuple[Path, ...]:
    """Makes the folder `parent`/`name` and gives its files.

    Raises Misuse for a name that Python could not import or a folder that is there already, and WorldBroke when
    it can not be written; then nothing of it is left.
    """
    check_name(name)
    folder = parent / name
    try:
        folder.mkdir()
    except FileExistsError:
        raise Misuse(f"{folder} is there already, and nothing is overwritten; choose another name") from None
    except OSError as error:
        raise _not_writable(folder, error) from error
    texts = {f"{name}.py": APP, f"test_{name}.py": TEST, "regrow.toml": CONFIG, "README.md": README}
    try:
        for file, text in texts.items():
            (folder / file).write_text(text.format(name=name), encoding="utf-8")
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise _not_writable(folder, error) from error
    return tuple(folder / file for file in texts)


def check_name(name: str) -> None:
    """Raises Misuse for a name that could not be imported, or would hide a module that is in use."""
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        likely = re.sub(r"\W+", "_", name).strip("_").lower()
        advice = f"such as {likely}" if _NAME.fullmatch(likely) and not keyword.iskeyword(likely) else "such as desk"
        raise Misuse(f"{name!r} can not be imported as a module; use letters, digits and underscores, {advice}")
    if name in sys.stdlib_module_names or importlib.util.find_spec(name) is not None:
        raise Misuse(f"{name!r} is the name of a module that is installed here, which it would hide; try {name}_app")


def _not_writable(folder: Path, error: OSError) -> WorldBroke:
    return WorldBroke(f"{folder} can not be written ({error.strerror}); go to a folder of yours and try again")
