"""The wheel alone is enough: installed in an empty venv outside the repository, it runs a program written there.

Every other test sees the editable install, which hides a file that the wheel forgets and a dependency that nobody
declared. The venv here holds the wheel and, as links, the closure of the dependencies that the wheel itself declares,
taken from the environment that runs the tests; nothing of `.[dev]` and no path of the repository is visible in it.
Downloading the same versions again would prove no more and take minutes; `pip check` in the venv says that none is
missing or too old.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import Distribution, distribution
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
ROOMS = ("runtime", "supervisors", "memory", "router", "actors", "cluster")

HELLO = """\
from regrow import App, agent


@agent
async def greet(name: str) -> str:
    return f"hello {name}"


app = App("hello", greet)

if __name__ == "__main__":
    print(app.ask(greet, "world"))
"""

SUPERVISED = """\
import asyncio

from regrow import Agent, App, AskFailed, Request, Supervisor, child, on

lives = 0


class Divide(Request[float]):
    by: float


class Desk(Agent):
    def __init__(self) -> None:
        global lives
        lives += 1

    @on
    async def divide(self, request: Divide) -> float:
        return 1 / request.by


app = App("mine", Supervisor(children=[child(Desk, id="desk")]))


async def main() -> None:
    async with app.start(engine="inline") as running:
        desk = running.ref(Desk)
        try:
            await desk.ask(Divide(by=0))
        except AskFailed as failure:
            print(failure.reason)
        print(await desk.ask(Divide(by=2)), lives)


if __name__ == "__main__":
    asyncio.run(main())
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A venv that has the wheel, and a folder of the user's own beside it."""

    wheel: Path
    home: Path
    folder: Path

    def run(self, command: str, *arguments: str, at: str = ".", path: str = "", timeout_s: float = 180) -> str:
        """What a command of the venv prints; it runs in the user's folder with nothing of ours in its environment.

        `at` is a folder below that one, and `path` where Python looks for modules besides.
        """
        ours = ("PYTHON", "VIRTUAL_ENV", "REGROW_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        environment["PATH"] = f"{self.home / 'bin'}{os.pathsep}{os.environ['PATH']}"
        environment |= {"PYTHONPATH": path} if path else {}
        command = str(self.home / "bin" / command)
        return run(command, *arguments, at=self.folder / at, env=environment, timeout_s=timeout_s)


def run(*command: str, at: Path, env: dict[str, str] | None = None, timeout_s: float = 300) -> str:
    __tracebackhide__ = True  # the traceback would show the whole environment, secrets included
    done = subprocess.run(command, check=False, cwd=at, env=env, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    outside = tmp_path_factory.mktemp("outside")
    wheel = built_wheel(outside)
    home = outside / "venv"
    venv.create(home, symlinks=True, with_pip=False)
    paths = {"base": str(home), "platbase": str(home), "installed_base": sys.base_prefix}
    link_dependencies(of=wheel, into=Path(sysconfig.get_path("purelib", scheme="venv", vars=paths)))
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(home / "bin/python"))
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), at=outside)
    run(*pip, "check", at=outside)
    folder = outside / "mine"
    folder.mkdir()
    return Installed(wheel=wheel, home=home, folder=folder)


def built_wheel(outside: Path) -> Path:
    """The wheel, built from a copy: a `build` folder left over in the repository would otherwise end up inside."""
    source = outside / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    for folder in ("api", *ROOMS):
        shutil.copytree(REPOSITORY / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(outside / "dist"))
    run(*build, str(source), at=outside)
    (wheel,) = (outside / "dist").glob("regrow-*.whl")
    return wheel


def link_dependencies(*, of: Path, into: Path) -> None:
    """Link what the wheel declares, and what that declares in turn, from this environment into another."""
    with zipfile.ZipFile(of) as archive:
        (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        requirements = [
            line.removeprefix("Requires-Dist: ")
            for line in archive.read(metadata).decode().splitlines()
            if line.startswith("Requires-Dist: ")
        ]
    link(requirements, into=into)


def link(requirements: list[str], *, into: Path) -> None:
    """Link what these requirements bring along from this environment into another."""
    for needed in closure(requirements):
        for part in {file.parts[0] for file in needed.files or ()} - {"..", "__pycache__"}:
            if not (into / part).is_symlink():
                (into / part).symlink_to(Path(str(needed.locate_file(part))))


def closure(requirements: list[str]) -> Iterator[Distribution]:
    """Every installed distribution that these requirements bring along."""
    waiting, seen = [(requirement, frozenset({""})) for requirement in requirements], set[str]()
    while waiting:
        text, extras = waiting.pop()
        requirement = Requirement(text)
        if requirement.marker and not any(requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        found = distribution(requirement.name)
        wanted = frozenset({"", *requirement.extras})
        key = f"{canonicalize_name(requirement.name)}{sorted(wanted)}"
        if key not in seen:
            seen.add(key)
            waiting += [(line, wanted) for line in found.requires or ()]
            yield found


def test_the_wheel_holds_every_room_and_the_marks_of_typed_packages(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as archive:
        names = set(archive.namelist())

    modules = {
        path.relative_to(REPOSITORY).as_posix()
        for folder in ROOMS
        for pattern in ("*.py", "py.typed", "*.lua", "*.html", "*.css", "*.js", "*.svg")
        for path in (REPOSITORY / folder).glob(pattern)
    }
    assert {f"regrow/{name}" for name in modules} | {
        "regrow/__init__.py",
        "regrow/testing.py",
        "regrow/py.typed",
    } <= names


def test_nothing_but_the_wheel_and_its_dependencies_is_visible(installed: Installed) -> None:
    code = "import importlib.util as u, regrow; print(regrow.__file__, u.find_spec('pytest'), u.find_spec('runtime'))"

    file, *others = installed.run("python", "-c", code).split()

    assert Path(file).is_relative_to(installed.home)
    assert others == ["None", "None"]


def test_a_users_hello_runs_in_an_empty_venv(installed: Installed) -> None:
    (installed.folder / "hello.py").write_text(HELLO, encoding="utf-8")

    assert installed.run("python", "hello.py") == "hello world\n"


def test_a_users_supervised_agent_crashes_and_grows_back_in_an_empty_venv(installed: Installed) -> None:
    (installed.folder / "mine.py").write_text(SUPERVISED, encoding="utf-8")

    said = installed.run("python", "mine.py").splitlines()

    assert [line for line in said if "[" not in line] == ["ZeroDivisionError: float division by zero", "0.5 2"]


def test_a_new_project_passes_its_own_test_with_nothing_but_the_wheel_and_pytest(
    installed: Installed, tmp_path: Path
) -> None:
    link(["pytest"], into=tmp_path)
    installed.run("regrow", "new", "shop")

    said = installed.run("python", "-m", "pytest", "-q", "-W", "error", at="shop", path=str(tmp_path))

    assert "2 passed" in said
