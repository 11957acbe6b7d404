"""Each recipe runs with the real package of its framework, in a venv of its own, and a scripted model behind it.

The venvs lie in `build/recipes`, so that a second run is quick; Regrow itself is put into them anew each time, as the
wheel that a user would have. Versions are pinned, so that what a framework releases breaks no change of ours.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.model_server import model_server
from tests.integration.test_wheel import built_wheel
from tests.integration.waiting import until_none

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "examples/recipes"
GUIDE = REPOSITORY / "docs/guides/bring-your-own-framework.md"
VENVS = REPOSITORY / "build/recipes"
LINES_LIMIT = 20
INSTALL_S = 540.0
RUN_S = 300.0
RUN_ON_RAY_S = 540.0
"""A venv that is new compiles Ray and its own packages in each process."""

PINNED = {
    "pydantic_ai_agent": ("pydantic-ai-slim[openai]==2.68.0",),
    "openai_agents": ("openai-agents==0.24.0",),
    "langgraph_graph": ("langgraph==1.2.24", "langchain-openai==1.7.4"),
    "autogen_core_agent": ("autogen-core==0.7.5", "autogen-ext[openai]==0.7.5"),
    "llama_index_workflow": ("llama-index-workflows==2.26.1", "llama-index-llms-openai-like==0.8.1"),
    "microsoft_agent_framework": ("agent-framework-core==1.23.0", "agent-framework-openai==1.17.0"),
    "claude_agent": ("claude-agent-sdk==0.2.189",),
    "crewai_crew": ("crewai==1.15.30",),
}
"""What each recipe needs; the guide names the same."""

BY_DAY = ("pydantic_ai_agent", "openai_agents")
"""One that is asked by a text and one by its signature, by two APIs of models. The others run at night."""

WITH_TOOL = ("pydantic_ai_agent", "openai_agents", "microsoft_agent_framework")

UNREACHABLE = re.compile(r"dns error|error sending request|failed to connect|timed out", re.IGNORECASE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built_wheel(tmp_path_factory.mktemp("recipes"))


def uv(*arguments: str) -> None:
    """Runs uv. Without a registry the test is skipped, but not in CI."""
    __tracebackhide__ = True
    command = (sys.executable, "-m", "uv", "--quiet", *arguments)
    done = subprocess.run(command, check=False, cwd=REPOSITORY, capture_output=True, text=True, timeout=INSTALL_S)
    if done.returncode != 0 and UNREACHABLE.search(done.stderr) and not os.environ.get("CI"):
        pytest.skip(f"the package registry can not be reached: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, f"uv {' '.join(arguments)} failed:\n{done.stderr}"


def interpreter(recipe: str, wheel: Path) -> Path:
    """The Python of a recipe's venv, which has its packages and the Regrow of now."""
    home = VENVS / recipe
    python, made_for = home / "bin/python", home / "made-for.txt"
    wanted = "\n".join((*PINNED[recipe], sys.version, (REPOSITORY / "pyproject.toml").read_text("utf-8")))
    if not made_for.exists() or made_for.read_text("utf-8") != wanted:
        shutil.rmtree(home, ignore_errors=True)
        uv("venv", "--python", sys.executable, str(home))
        uv("pip", "install", "--python", str(python), *PINNED[recipe], str(wheel))
        made_for.write_text(wanted, "utf-8")
    uv("pip", "install", "--python", str(python), "--no-deps", "--reinstall", str(wheel))
    return python


def environment(url: str, home: Path) -> dict[str, str]:
    """Nothing of ours and no key of anybody's; every framework finds the scripted model."""
    ours = ("PYTHON", "VIRTUAL_ENV", "REGROW_", "OPENAI_", "ANTHROPIC_", "CLAUDE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {
        "HOME": str(home),
        "PYTHONPATH": str(RECIPES),
        "MODEL_SERVER": url,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_BASE": f"{url}/v1",
        "OPENAI_API_KEY": "none",
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "none",
        # What some of them would tell their makers is not for a test.
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "CREWAI_DISABLE_TELEMETRY": "true",
        "CREWAI_TRACING_ENABLED": "false",
        "OTEL_SDK_DISABLED": "true",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }


def processes_with(url: str) -> list[str]:
    """The processes that were started, directly or not, with this server in their environment."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if url.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_text("utf-8", "replace").replace("\0", " ")[:120])
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def run(engine: str, recipe: str, wheel: Path, folder: Path) -> dict[str, Any]:
    """What `recipe_run` has said of a recipe, of which no process is left."""
    python = interpreter(recipe, wheel)
    names = [re.split(r"[\[=]", each, maxsplit=1)[0] for each in PINNED[recipe]]
    command = (str(python), str(Path(__file__).with_name("recipe_run.py")), engine, recipe, *names)
    with model_server() as server:
        done = subprocess.run(
            command,
            check=False,
            cwd=folder,
            env=environment(server.url, folder),
            capture_output=True,
            text=True,
            timeout=RUN_ON_RAY_S if engine == "ray" else RUN_S,
        )
        assert done.returncode == 0, done.stderr
        until_none(lambda: processes_with(server.url), f"that {recipe} has started", within_s=20)
    (line,) = (line for line in done.stdout.splitlines() if line.startswith('{"first"'))  # some print on their own
    said: dict[str, Any] = json.loads(line)
    return said


def outcome(said: dict[str, Any]) -> tuple[str, ...]:
    return said["first"], said["ended"], said["state"], said["again"]


def asked_killed_and_asked_again(recipe: str) -> tuple[str, ...]:
    """The outcome of a recipe that does as it should."""
    warm = "It is 21 degrees in Bern." if recipe in WITH_TOOL else "It is fine in Bern."
    return warm, "Killed", "running", warm


@pytest.mark.slow
@pytest.mark.again
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=() if name in BY_DAY else pytest.mark.nightly) for name in PINNED]
)
def test_a_recipe_answers_is_killed_while_it_runs_and_answers_again(recipe: str, wheel: Path, tmp_path: Path) -> None:
    said = run("inline", recipe, wheel, tmp_path)

    assert outcome(said) == asked_killed_and_asked_again(recipe)
    assert {f"{name}=={version}" for name, version in said["ran"].items()} == {
        re.sub(r"\[.*\]", "", each) for each in PINNED[recipe]
    }


@pytest.mark.slow
@pytest.mark.again
@pytest.mark.nightly
def test_a_recipe_does_the_same_on_ray_where_its_process_is_killed(wheel: Path, tmp_path: Path) -> None:
    recipe = WITH_TOOL[0]

    said = run("ray", recipe, wheel, tmp_path)

    assert outcome(said) == asked_killed_and_asked_again(recipe)


def test_each_recipe_is_short_and_stands_in_the_guide_with_the_versions_it_ran_with() -> None:
    recipes = {path.stem: path.read_text("utf-8") for path in RECIPES.glob("*.py")}
    guide = GUIDE.read_text("utf-8")

    assert set(recipes) == set(PINNED)
    for name, text in recipes.items():
        assert len([line for line in text.splitlines() if line.strip()]) <= LINES_LIMIT, name
        (row,) = (line for line in guide.splitlines() if f"/{name}.py)" in line)
        for each in PINNED[name]:
            assert re.sub(r"\[.*\]", "", each).replace("==", " ") in row, f"{name}: {row}"
