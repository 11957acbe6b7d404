"""Where hosts get the code of an app from, and what a person is told when they can not have it."""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from regrow import Agent, App, Request, on
from regrow.cluster.app import EngineName
from regrow.cluster.errors import AppAlreadyRunning
from regrow.runtime import CodeNotImportable
from tests.integration.apps import pair
from tests.integration.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.usefixtures("alone")]

PROGRAM = """\
from regrow import Agent, App, Request, on


class Version(Request[int]):
    pass


class Versioned(Agent):
    @on
    async def version(self, request: Version) -> int:
        return 1


app = App("versioned", Versioned)
"""

ONLY_HERE = """\
import sys

if "default_worker.py" in sys.argv[0]:
    raise ImportError("no module named 'gpu_driver'")

"""


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Inline nothing is imported anew."""
    return "ray"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's, from which modules can be imported."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]


class Ping(Request[int]):
    pass


async def test_an_app_in_a_users_own_folder_runs(start: Start, desk: Path) -> None:
    (desk / "own_folder.py").write_text(PROGRAM, encoding="utf-8")
    module = importlib.import_module("own_folder")

    async with start(module.app) as running:
        assert await running.ref(module.Versioned).ask(module.Version()) == 1


async def test_a_class_defined_in_a_function_is_refused_with_the_mend(start: Start) -> None:
    class Local(Agent):
        @on
        async def ping(self, request: Ping) -> int:
            return 1

    with pytest.raises(CodeNotImportable, match=r"is defined inside a function, .*; move it to the top of its module"):
        async with start(App("local", Local)):
            pass


async def test_an_app_that_has_no_name_in_its_module_is_refused_with_the_mend(start: Start) -> None:
    with pytest.raises(CodeNotImportable, match=r"'nameless' is no top-level name of .*; assign it there"):
        async with start(App("nameless", pair.Side)):
            pass


async def test_an_app_typed_into_a_notebook_is_refused_with_the_mend(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = types.ModuleType("notebook")
    monkeypatch.setitem(sys.modules, "notebook", notebook)
    exec(compile(PROGRAM, "<cell 3>", "exec"), vars(notebook))

    with pytest.raises(CodeNotImportable, match=r"was typed into a notebook or prompt, .* run it with engine='inline'"):
        async with start(notebook.app):
            pass


async def test_a_file_that_has_changed_since_its_import_is_refused(start: Start, desk: Path) -> None:
    file = desk / "changed_file.py"
    file.write_text(PROGRAM, encoding="utf-8")
    module = importlib.import_module("changed_file")
    file.write_text(PROGRAM.replace("return 1", "return 2"), encoding="utf-8")

    with pytest.raises(CodeNotImportable, match=r"changed_file\.py has changed since .*; start the program again"):
        async with start(module.app):
            pass


async def test_a_host_that_finds_another_version_refuses_to_join(
    start: Start, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk / "other_version.py"
    file.write_text(PROGRAM, encoding="utf-8")
    module = importlib.import_module("other_version")
    monkeypatch.setattr(module.app, "digest", "0" * 64)
    monkeypatch.setattr("regrow.cluster.code._digest", lambda path: "0" * 64)

    with pytest.raises(CodeNotImportable, match="is not the file that the app was started from; bring the same"):
        async with start(module.app):
            pass


async def test_code_that_only_hosts_can_not_import_is_told_with_the_mend(start: Start, desk: Path) -> None:
    (desk / "only_here.py").write_text(ONLY_HERE + PROGRAM, encoding="utf-8")
    module = importlib.import_module("only_here")

    with pytest.raises(CodeNotImportable) as refused:
        async with start(module.app):
            pass

    assert f"a host could not import only_here from {desk} (ImportError: no module named 'gpu_driver')" in str(
        refused.value
    )


async def test_a_second_app_of_the_same_name_is_refused_and_the_first_goes_on(start: Start) -> None:
    async with start(pair.left) as running:
        with pytest.raises(AppAlreadyRunning, match="end it first with: regrow stop left"):
            async with start(pair.left):
                pass

        assert await running.ref(pair.Side).ask(pair.Name()) == "left/side"


async def test_two_apps_live_side_by_side_and_end_apart(start: Start) -> None:
    async with start(pair.left) as left:
        async with start(pair.right) as right:
            assert await left.ref(pair.Side).ask(pair.Name()) == "left/side"
            assert await right.ref(pair.Side).ask(pair.Name()) == "right/side"

        assert await left.ref(pair.Side).ask(pair.Name()) == "left/side"
