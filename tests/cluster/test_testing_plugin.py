"""The pytest plugin, in projects of users: which tests it runs, and that it costs the others nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.program]

TESTS = """\
import asyncio

import pytest

from regrow import App, agent
from regrow.testing import TestApp


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)


async def greets(test_app):
    async with test_app(app) as t:
        assert await t.ask(greet, "world") == "hello world"
        assert asyncio.get_running_loop().time() < 2_000.0


async def test_with_the_fixture(test_app):
    await greets(test_app)


@pytest.mark.regrow
async def test_with_the_mark():
    await greets(TestApp)


class TestOfAClass:
    def setup_method(self):
        self.is_set_up = True

    @pytest.mark.parametrize("times", [1, 2])
    async def test_method(self, test_app, times, tmp_path):
        assert self.is_set_up and tmp_path.is_dir()
        for _ in range(times):
            await greets(test_app)


def test_that_is_not_async(test_app):
    assert test_app is TestApp


@pytest.mark.regrow(engine="ray")
async def test_for_ray_alone():
    raise AssertionError("this run is inline")
"""


def pytest_says(folder: Path, test: str, *options: str) -> str:
    """What pytest prints for one file in a folder of its own, whether its tests pass or not."""
    (folder / "test_it.py").write_text(test, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n", "utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REGROW_", "PYTEST_"))}
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-W", "error", *options]
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr


@pytest.mark.parametrize("options", [("--asyncio-mode=strict",), ("--asyncio-mode=auto",)])
def test_tests_with_the_fixture_or_the_mark_run_on_virtual_time_beside_pytest_asyncio(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    said = pytest_says(tmp_path, TESTS, *options)

    assert "5 passed, 1 skipped" in said, said
    assert "it is marked for the engine ray, and this run is on inline" in said


def test_an_assertion_that_fails_is_shown_with_its_values(tmp_path: Path) -> None:
    broken = TESTS + "\n\nasync def test_that_fails(test_app):\n    reply = 'hallo'\n    assert reply == 'hello'\n"

    said = pytest_says(tmp_path, broken, "-k", "fails")

    assert "- hello\n" in said, said
    assert "+ hallo\n" in said
    assert "testing_plugin.py" not in said, "the frames of the plugin say nothing to a user"


def test_an_async_test_of_an_app_that_nobody_runs_is_told_the_mark(tmp_path: Path) -> None:
    unmarked = TESTS + "\n\nasync def test_unmarked():\n    async with TestApp(app):\n        pass\n"

    said = pytest_says(tmp_path, unmarked, "-k", "unmarked", "-p", "no:asyncio", "-p", "no:anyio", "-c", os.devnull)

    assert "is marked with @pytest.mark.regrow" in said, said


def test_an_engine_that_there_is_not_is_refused(tmp_path: Path) -> None:
    wrong = TESTS.replace('engine="ray"', 'engine="rai"')

    assert "there is no engine 'rai'; use one of 'inline', 'ray'" in pytest_says(tmp_path, wrong)


def test_a_run_that_does_not_use_it_imports_nothing_of_regrow_but_the_plugin(tmp_path: Path) -> None:
    test = (
        "import sys\n\n\ndef test_modules():\n"
        "    print(sorted(name for name in sys.modules if name.startswith('regrow.')))\n"
        "    print('pydantic' in sys.modules, 'ray' in sys.modules)\n"
    )

    said = pytest_says(tmp_path, test, "-s")

    assert "['regrow.cluster', 'regrow.cluster.testing_plugin']\nFalse False\n" in said, said
