"""Tools in processes of their own: what comes back, what they may use, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest

from regrow import Context
from regrow.actors import tool_sandbox
from regrow.actors.tool import Tool
from regrow.actors.tool_errors import InvalidResult, ResultTooLarge, ToolFailed, ToolTimedOut
from tests.actors import tools_apart as tools
from tests.actors.tool_shop import Do, shop, used
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.program]

REPOSITORY = Path(__file__).resolve().parents[2]
LARGE = 10_000_000
PATIENCE_S = 60.0
"""A busy machine takes long to start a Python."""


def namespaces_work() -> bool:
    """Whether bubblewrap is here and this machine lets it do its work, which containers often do not."""
    trial = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc", "--unshare-all", "true"]
    return shutil.which("bwrap") is not None and subprocess.run(trial, capture_output=True, check=False).returncode == 0


WITH_BUBBLEWRAP = pytest.mark.skipif(
    not namespaces_work(), reason="bubblewrap is not installed, or may make no namespaces here"
)


class Processes:
    """All processes that the tools of one test have started."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{tools.MARK}={mark}".encode()

    def found(self) -> list[int]:
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and self._is_one(each)]

    def running_python(self) -> int:
        """How many of them are none of what stands around a tool in a sandbox."""
        return sum(_program(pid) not in {"sh", "bwrap", ""} for pid in self.found())

    def _is_one(self, process: Path) -> bool:
        try:
            return self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().partition("\0")[0].rpartition("/")[2]
    except OSError:
        return ""


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(tools.MARK, mark)
    monkeypatch.syspath_prepend(str(REPOSITORY))
    return Processes(mark)


@pytest.fixture
def no_namespaces(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A bubblewrap that does not work, as on many machines."""
    fake = tmp_path_factory.mktemp("programs") / "bwrap"
    fake.write_text("#!/bin/sh\necho no namespaces here >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture(params=[False, pytest.param(True, marks=WITH_BUBBLEWRAP)], ids=["limits alone", "bubblewrap"])
def sandboxed(request: pytest.FixtureRequest) -> None:
    """Each way in which a process is kept."""
    if not request.param:
        request.getfixturevalue("no_namespaces")


@pytest.fixture(autouse=True)
def nothing_left(processes: Processes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Behind each of these tests: no process, and no folder."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert processes.found() == []
    assert list(tmp_path.glob("regrow-tool-*")) == []


async def called(tool: Tool[Any], arguments: dict[str, object] | None = None) -> object:
    """What the tool gives. Raises what the agent would."""
    given: list[object] = []

    async def use(ctx: Context) -> object:
        given.append(await ctx.tools.call(tool, arguments or {}))
        return ""

    await used([tool], use)
    return given[0]


async def test_arguments_go_in_and_the_result_comes_out_as_its_type() -> None:
    joined = await called(tools.join, {"words": ["a", "b"], "times": 2})

    assert joined == "a b a b desk/shop"


async def test_an_async_function_runs_there_as_well_in_a_folder_of_its_own() -> None:
    given = await called(tools.later)

    assert isinstance(given, tuple)
    pid, folder = given
    assert pid != os.getpid()
    assert Path(folder).name.startswith("regrow-tool-")


async def test_it_sees_of_the_environment_only_what_it_needs_and_what_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret")

    found = await called(tools.surroundings)

    assert isinstance(found, dict)
    assert tools.MARK in found
    assert "secret" not in found.values()
    assert set(found) <= {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "VIRTUAL_ENV", "HOME", "TMPDIR", "PWD", tools.MARK),
        *("PYTHONPATH", "PYTHONSAFEPATH", "PYTHONDONTWRITEBYTECODE"),
    }


async def test_ten_megabytes_of_result_are_too_much_and_ten_of_output_are_read_and_dropped() -> None:
    with pytest.raises(ResultTooLarge, match="give gave more than 1,048,576 bytes as JSON"):
        await called(tools.give, {"size": LARGE})

    assert await called(tools.flood, {"size": LARGE}) == "printed"


async def test_what_is_no_result_of_its_type_is_told() -> None:
    with pytest.raises(InvalidResult, match="wrong gave list, which is not what it declares"):
        await called(tools.wrong)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("raise", r"end failed \(ValueError: no such shop\)"),
        ("exit", r"end failed \(SystemExit: 3\)"),
        ("at once", r"end failed: its process ended \(\{'exit': 3\}\)"),
        ("by a signal", "end failed: its process was ended by SIGSEGV"),
    ],
)
async def test_however_it_ends_it_is_told(how: str, told: str) -> None:
    with pytest.raises(ToolFailed, match=told):
        await called(tools.end, {"how": how})


async def test_what_it_has_started_ends_with_it_though_it_has_left_its_group() -> None:
    assert await called(tools.leave, {"children": 3}) == "left"


async def test_more_processes_than_it_may_have_end_it() -> None:
    with pytest.raises(ToolFailed, match="spread failed: it started more than 4 processes"):
        await called(tools.spread)


async def test_one_that_ignores_signals_is_killed_at_its_limit_of_time() -> None:
    with pytest.raises(ToolTimedOut, match="deaf was stopped after 4 s"):
        await called(tools.deaf)


async def test_memory_beyond_its_limit_fails_it_alone() -> None:
    with pytest.raises(ToolFailed, match=r"eat failed \(MemoryError\)|eat failed: its process was ended by SIGKILL"):
        await called(tools.eat)


async def test_time_of_the_processor_beyond_its_limit_ends_it() -> None:
    with pytest.raises(ToolFailed, match=r"cpu_s|SIGKILL"):
        await called(tools.spin)


async def test_a_file_beyond_its_limit_fails_it() -> None:
    assert await called(tools.write, {"size": 900_000}) == 900_000
    with pytest.raises(ToolFailed, match="File too large"):
        await called(tools.write, {"size": 2_000_000})


@pytest.mark.usefixtures("sandboxed")
async def test_a_turn_that_is_cancelled_ends_the_process_and_all_below_it(
    processes: Processes, sandboxed: bool
) -> None:
    async def use(ctx: Context) -> object:
        return await ctx.tools.call(tools.leave, {"children": 2, "waits": True})

    async with shop([tools.leave], use).start(engine="inline") as running:
        asking = asyncio.create_task(running.ref("desk/shop").ask(Do()))
        # The outer and the inner process, and two that have left them.
        await until(lambda: processes.running_python() == 4, "all processes are there", within_s=PATIENCE_S)
        await running.ref("desk/shop").stop()
        await asyncio.wait([asking])

    assert processes.found() == []


@pytest.mark.usefixtures("sandboxed")
async def test_a_host_that_is_killed_leaves_no_process_and_no_folder_of_its_tools(
    processes: Processes, tmp_path: Path
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-m", "tests.actors.tools_host"],
        cwd=REPOSITORY,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    try:
        # The host itself, the outer and the inner process, and two that have left them.
        await until(lambda: processes.running_python() == 5, "all processes are there", within_s=PATIENCE_S)
    finally:
        host.send_signal(signal.SIGKILL)
        host.wait()

    await until(lambda: processes.found() == [], "no process is left", within_s=PATIENCE_S)
    await until(lambda: not list(tmp_path.glob("regrow-tool-*")), "no folder is left", within_s=PATIENCE_S)


async def test_much_that_a_tool_leaves_in_its_folder_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    removed_in: list[int] = []

    def removed(folder: str, ignore_errors: bool) -> None:
        removed_in.append(threading.get_ident())
        rmtree(folder, ignore_errors)

    rmtree = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", removed)

    assert await called(tools.write, {"size": 10}) == 10

    assert removed_in and threading.get_ident() not in removed_in


async def test_a_tool_that_has_changed_since_its_host_imported_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(tools.join.__dict__, "hash", "another")

    with pytest.raises(ToolFailed, match=r"ImportError: tests.actors.tools_apart:join has changed"):
        await called(tools.join, {"words": ["a"]})


@pytest.mark.usefixtures("no_namespaces")
async def test_a_bubblewrap_that_does_not_work_is_told_once_and_done_without() -> None:
    assert await tool_sandbox.sandbox("folder") == []
    assert await called(tools.join, {"words": ["a"]}) == "a desk/shop"


@WITH_BUBBLEWRAP
async def test_in_bubblewrap_there_is_no_network_and_nothing_to_write_to_but_its_folder(tmp_path: Path) -> None:
    listener = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]

    assert await tool_sandbox.sandbox("folder") != []
    with pytest.raises(ToolFailed, match=r"Network is unreachable|Connection refused"):
        await called(tools.connect, {"port": port})
    with pytest.raises(ToolFailed, match="Read-only file system"):
        await called(tools.write, {"size": 10, "folder": str(tmp_path)})
    assert await called(tools.write, {"size": 10}) == 10

    listener.close()
    await listener.wait_closed()
