"""Tools of MCP servers: behind the gate, as they were consented to, and each server a child that is started again."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, AskFailed, Context, Crashed, DurableAgent, DurableContext, Request, Supervisor, child, on
from regrow.actors import mcp_link
from regrow.actors.durable_errors import InQuarantine
from regrow.actors.mcp_errors import NotPinned, OutcomeUnknown, ServerLost, ToolChanged
from regrow.actors.mcp_lock import read_pins
from regrow.actors.mcp_server import McpServer
from regrow.actors.process_guard import below
from regrow.actors.tool_errors import (
    InvalidArguments,
    InvalidResult,
    ResultTooLarge,
    ToolDenied,
    ToolFailed,
    ToolTimedOut,
    UnknownTool,
)
from regrow.cluster.errors import AppNotStarted
from regrow.runtime.address import ActorId
from regrow.supervisors import SpecError
from tests.actors.mcp_desk import MARK, PATIENCE_S, Do, desk, pin, raw, used
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.program]


REPOSITORY = Path(__file__).resolve().parents[2]


class Processes:
    """All processes that the servers of one test have started, also those that got away."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()

    def found(self) -> list[int]:
        return [int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit() and self._is_one(each)]

    def _is_one(self, process: Path) -> bool:
        try:
            return self._mark in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            return False


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> Processes:
    mark = uuid.uuid4().hex
    monkeypatch.setenv(MARK, mark)
    return Processes(mark)


@pytest.fixture(autouse=True)
def nothing_left(processes: Processes) -> Iterator[None]:
    """Behind each of these tests: no server, none of its processes, and no guard."""
    before = set(below(os.getpid()))
    yield
    asyncio.run(until(lambda: not processes.found(), "no server is left"))
    asyncio.run(until(lambda: not set(below(os.getpid())) - before, "no guard is left"))


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lock file of a server whose tools are as they should be."""
    folder = tmp_path_factory.mktemp("pinned")
    os.environ.setdefault(MARK, "")
    pin(raw(folder))
    return folder / "mcp.lock"


@pytest.fixture
def folder(tmp_path: Path, lock: Path) -> Path:
    """A folder with that lock file in it."""
    shutil.copy(lock, tmp_path)
    return tmp_path


# ---- the gate ------------------------------------------------------------------------------------


async def test_a_tool_of_a_server_is_called_like_any_other(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        return [
            await ctx.tools.call("raw_echo", {"text": "hello"}),
            await ctx.tools.call("raw_add", '{"a": 1, "b": 2}'),
            await ctx.tools.call("raw_blocks"),
        ]

    assert await used(raw(folder), use) == str(
        [
            "hello",
            {"sum": 3},
            "[image of type image/png, 4 characters of base64, left out]\n[resource page: file:///page]\nseen",
        ]
    )


async def test_arguments_are_checked_by_the_pinned_schema_before_anything_is_sent(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        for arguments in ({"a": 1}, {"a": "one", "b": 2}, {"a": 1, "b": -1}, {"a": 1, "b": 2, "c": 3}):
            with pytest.raises(InvalidArguments, match="raw_add was not run"):
                await ctx.tools.call("raw_add", arguments)
        return "denied"

    assert await used(raw(folder), use) == "denied"


async def test_what_a_model_is_told_of_a_tool_is_what_was_pinned(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        schema = {each.name: each for each in ctx.tools.schemas()}["raw_echo"]
        functions = {each.__name__: each for each in ctx.tools.functions()}
        return [
            schema.description,
            json.loads(schema.parameters)["required"],
            await functions["raw_echo"](text="again"),
        ]

    assert await used(raw(folder), use) == "['Says it again.', ['text'], 'again']"


async def test_an_agent_may_have_some_tools_of_a_server_and_not_the_others(folder: Path) -> None:
    server = raw(folder)

    async def use(ctx: Context) -> object:
        with pytest.raises(UnknownTool, match="it has raw_echo"):
            await ctx.tools.call("raw_add", {"a": 1, "b": 2})
        with pytest.raises(ToolDenied):
            await ctx.tools.call(server.tool("add"), {"a": 1, "b": 2})
        with ctx.tools.only(), pytest.raises(ToolDenied):
            await ctx.tools.call("raw_echo", {"text": "x"})
        return await ctx.tools.call("raw_echo", {"text": "x"})

    async with desk(server, use, [server.only("echo")]).start(engine="inline") as running:
        assert await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S) == "x"


def test_a_server_whose_tools_nobody_listed_has_none_that_an_agent_could_run(folder: Path) -> None:
    server = raw(folder, tools=["add", "echo"])

    assert [tool.name for tool in server.tools] == ["raw_add", "raw_echo"]


async def test_each_call_runs_for_its_own_message_and_many_run_at_once(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        calls = (ctx.tools.call("raw_echo", {"text": str(number)}) for number in range(40))
        return await asyncio.gather(*calls)

    assert await used(raw(folder), use) == str([str(number) for number in range(40)])


# ---- consent -------------------------------------------------------------------------------------


async def test_a_server_that_nobody_has_consented_to_is_refused_with_the_command_that_pins(tmp_path: Path) -> None:
    server = raw(tmp_path)

    async def use(ctx: Context) -> object:
        return ""

    with pytest.raises(AppNotStarted, match=r"regrow mcp pin [\w.]+:APP raw"):
        async with desk(server, use).start(engine="inline"):
            pass


def test_an_agent_that_lists_an_unpinned_server_does_not_start(tmp_path: Path) -> None:
    server = raw(tmp_path)

    class User(Agent):
        tools = [server]

    with pytest.raises(NotPinned, match="nobody has consented"):
        User.made(None)


@pytest.mark.parametrize(
    ("how", "place"),
    [("description", "changed in its description"), ("schema", r"changed in its input\."), ("removed", "removed")],
)
async def test_a_tool_that_changes_in_mid_session_is_refused_with_what_has_changed(
    folder: Path, how: str, place: str
) -> None:
    async def use(ctx: Context) -> object:
        before = await ctx.tools.call("raw_echo", {"text": "x"})
        await ctx.tools.call("raw_change", {"text": how})
        while True:  # until the session has looked again
            try:
                await ctx.tools.call("raw_echo", {"text": "x"})
            except ToolChanged as error:
                return f"{before}: {error}"

    told = await used(raw(folder), use)

    assert "IGNORE" not in told
    assert told.startswith("x: raw_echo was not run")
    assert re.search(place, told)


async def test_a_tool_that_was_changed_back_may_be_called_and_one_that_was_added_is_not_there(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        await ctx.tools.call("raw_change", {"text": "description"})
        while not isinstance(await tried(ctx), ToolChanged):
            pass
        await ctx.tools.call("raw_change", {"text": "back"})
        await ctx.tools.call("raw_change", {"text": "added"})
        while isinstance(await tried(ctx), ToolChanged):
            pass
        return type(await tried(ctx, "raw_new")).__name__

    async def tried(ctx: Context, tool: str = "raw_echo") -> object:
        try:
            return await ctx.tools.call(tool, {"text": "x"} if tool == "raw_echo" else {})
        except (ToolChanged, UnknownTool) as error:
            return error

    assert await used(raw(folder), use) == "UnknownTool"


async def test_a_server_that_starts_with_other_tools_has_the_changed_ones_refused_and_the_others_not(
    folder: Path,
) -> None:
    pins = json.loads((folder / "mcp.lock").read_text())
    echo = pins["servers"]["raw"]["tools"]["echo"]
    server = raw(folder)
    object.__setattr__(server.pins["echo"], "description", f"{echo['description']} Or so.")
    tool = server.tool("echo")
    object.__setattr__(tool, "hash", server.pins["echo"].hash)

    async def use(ctx: Context) -> object:
        with pytest.raises(ToolChanged, match="changed in its description"):
            await ctx.tools.call("raw_echo", {"text": "x"})
        return await ctx.tools.call("raw_add", {"a": 1, "b": 1})

    assert await used(server, use) == "{'sum': 2}"


# ---- supervision ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "it ended with exit code 3"),
        ("signal", "it was ended by SIGSEGV"),
        ("quietly", "closed the connection"),
    ],
)
async def test_a_server_that_dies_is_started_again_and_the_reason_says_how_it_ended(
    folder: Path, how: str, said: str
) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(OutcomeUnknown, match="raw_die was under way") as lost:
            await ctx.tools.call("raw_die", {"how": how})
        assert said in str(lost.value) and "its last words" in str(lost.value)
        return await ctx.tools.call("raw_echo", {"text": "it is back"})

    async with desk(raw(folder), use).start(engine="inline") as running:
        assert await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S) == "it is back"
        (session, user) = (await running.tree())[0].children

    assert (session.restarts, user.restarts) == (1, 0)
    assert session.last_reason.startswith("ServerEnded: the MCP server raw") and said in session.last_reason


async def test_a_call_that_may_run_twice_is_told_that_it_may_be_made_again(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ServerLost, match="it may be called again"):
            await ctx.tools.call("raw_count", {"size": 1})
        return await ctx.tools.call("raw_count", {"size": 1})

    assert await used(raw(folder, idempotent=["count"]), use) == "2"


async def test_what_a_server_says_of_itself_makes_no_call_idempotent(folder: Path) -> None:
    server = raw(folder)

    assert not any(tool.idempotent for tool in server.tools)


async def test_a_server_that_dies_too_often_ends_its_supervisor(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        while True:
            with pytest.raises(OutcomeUnknown):
                await ctx.tools.call("raw_die")

    app = desk(raw(folder), use)
    async with app.start(engine="inline") as running:
        with pytest.raises(AskFailed):
            await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S)
        reason = await running.engine.wait_ended()

    assert "raw ended 4 times, which is too often (ServerEnded" in str(reason)


async def test_a_call_without_a_session_in_the_app_says_what_to_add(folder: Path) -> None:
    server = raw(folder)

    class User(Agent):
        tools = [server]

    with pytest.raises(SpecError, match=r"add child\(raw\), once"):
        App("desk", child(User, id="user"))


async def test_a_killed_session_ends_its_server_and_the_call_that_ran(folder: Path, processes: Processes) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(OutcomeUnknown, match="was under way when its server was lost"):
            await ctx.tools.call("raw_slow")
        return "known"

    async with desk(raw(folder), use).start(engine="inline") as running:
        asked = asyncio.ensure_future(running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S))
        cell = running.engine.runtime.cells[ActorId("desk/raw")]
        await until(lambda: cell.turns, "the call runs")
        first = set(processes.found())
        await running.kill("desk/raw")

        assert await asked == "known"
        assert first and not first & set(processes.found())


@pytest.mark.parametrize("mode", ["well", "silent"])
async def test_a_start_that_is_cut_at_any_point_leaves_nothing(folder: Path, mode: str, processes: Processes) -> None:
    for rounds in (*range(0, 40, 4), 100, 300, 1_000, 3_000, 10_000):
        link = mcp_link.Link(raw(folder, mode), lambda: None)
        opening = asyncio.ensure_future(link.open())
        for _ in range(rounds):
            await asyncio.sleep(0)
        opening.cancel()
        await asyncio.wait([opening])
        await link.aclose()
    gc.collect()  # what was not closed says so

    await until(lambda: processes.found() == [], "no server is left", within_s=PATIENCE_S)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "said"),
    [
        ("exit", "it ended with exit code 7; its stderr: no such database"),
        ("silent", "did not get ready within"),
        ("no-protocol", "did not get ready within .* it printed what is no message: '220 mail.example.com ESMTP'"),
        ("babble", "flooded"),
        ("many-tools", "more than 256 tools"),
        ("endless-pages", "more than 64 pages"),
        ("no-list", "it does not speak MCP"),
    ],
)
async def test_a_server_that_is_of_no_use_does_not_start_and_says_why(folder: Path, mode: str, said: str) -> None:
    patience_s = {"silent": 3.0, "no-protocol": 6.0}.get(mode, PATIENCE_S)

    async def use(ctx: Context) -> object:
        return ""

    with pytest.raises(AppNotStarted, match=f"the MCP server raw .* can not be used: .*{said}"):
        async with desk(raw(folder, mode, start_timeout_s=patience_s), use).start(engine="inline"):
            pass


async def test_a_program_that_is_not_there_is_named(folder: Path) -> None:
    server = raw(folder)
    object.__setattr__(server.options, "command", ("no-such-program",))

    async def use(ctx: Context) -> object:
        return ""

    with pytest.raises(AppNotStarted, match="No such file or directory: 'no-such-program'"):
        async with desk(server, use).start(engine="inline"):
            pass


@pytest.mark.parametrize(
    ("tool", "arguments", "error", "said"),
    [
        ("wrong", {}, InvalidResult, "sum: 'many' is not of type 'integer'"),
        ("bare", {}, InvalidResult, "declares structured content, and gave none"),
        ("broken", {}, InvalidResult, "no result of a call"),
        ("garbled", {}, InvalidResult, "its answer can not be read"),
        ("error", {"text": "no such page"}, ToolFailed, r"raw_error failed \(no such page\)"),
        ("refuse", {"text": "not so"}, ToolFailed, r"raw_refuse failed \(not so\)"),
        ("big", {"size": 2_000_000}, ResultTooLarge, "raw_big gave 2,000,002 bytes as JSON"),
        ("big", {"size": 10_000_000}, ResultTooLarge, r"raw_big gave 10,000,\d+ bytes"),
    ],
)
async def test_a_result_that_is_none_is_told_and_the_session_goes_on(
    folder: Path, tool: str, arguments: dict[str, Any], error: type[Exception], said: str
) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(error, match=said):
            await ctx.tools.call(f"raw_{tool}", arguments)
        return await ctx.tools.call("raw_echo", {"text": "well"})

    async with desk(raw(folder), use).start(engine="inline") as running:
        assert await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S) == "well"
        assert (await running.tree())[0].children[0].restarts == 0


@pytest.mark.parametrize("what", ["notifications", "long-notifications", "answers", "requests", "words", "one-line"])
async def test_a_server_that_floods_is_ended_and_started_again(folder: Path, what: str) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(OutcomeUnknown, match=r"flooded|sent more than"):
            await ctx.tools.call("raw_flood", {"text": what})
        return await ctx.tools.call("raw_echo", {"text": "well"})

    assert await used(raw(folder), use) == "well"


async def test_a_server_that_floods_its_stderr_costs_its_host_nothing(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ToolTimedOut):
            await ctx.tools.call("raw_flood", {"text": "stderr"})
        return "late"

    assert await used(raw(folder, timeout_s=2.0), use) == "late"


async def test_a_server_that_hangs_is_ended_after_a_call_that_takes_too_long(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mcp_link, "PROBE_S", 1.0)

    async def use(ctx: Context) -> object:
        with pytest.raises(ToolTimedOut, match=r"raw_hang was stopped after 2 s"):
            await ctx.tools.call("raw_hang")
        while True:
            try:
                return await ctx.tools.call("raw_echo", {"text": "it is back"})
            except (ToolTimedOut, OutcomeUnknown, ServerLost):
                pass

    async with desk(raw(folder, timeout_s=2.0), use).start(engine="inline") as running:
        assert await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S) == "it is back"
        assert "it did not answer within 1 s" in (await running.tree())[0].children[0].last_reason


async def test_one_slow_call_does_not_end_its_session(folder: Path) -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ToolTimedOut):
            await ctx.tools.call("raw_slow")
        return await ctx.tools.call("raw_echo", {"text": "well"})

    async with desk(raw(folder, timeout_s=1.0), use).start(engine="inline") as running:
        assert await running.ref("desk/user").ask(Do(), timeout_s=PATIENCE_S) == "well"
        assert (await running.tree())[0].children[0].restarts == 0


@pytest.mark.parametrize("method", ["sampling/createMessage", "elicitation/create", "roots/list"])
async def test_a_server_that_asks_for_a_model_a_person_or_folders_is_refused(folder: Path, method: str) -> None:
    async def use(ctx: Context) -> object:
        return await ctx.tools.call("raw_beg", {"text": method})

    assert "not supported" in await used(raw(folder), use)


async def test_of_the_environment_a_server_sees_what_it_needs_and_what_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    monkeypatch.setenv("SOME_NAME", "y")

    async def use(ctx: Context) -> object:
        return await ctx.tools.call("raw_environment")

    seen = json.loads(await used(raw(folder, environment=[MARK, "SOME_NAME"]), use))

    assert set(seen) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", MARK, "SOME_NAME"}
    assert seen["SOME_NAME"] == "y"


async def test_what_a_server_has_started_ends_with_it_though_it_has_left_its_group(
    folder: Path, processes: Processes
) -> None:
    async def use(ctx: Context) -> object:
        await ctx.tools.call("raw_leave", {"size": 3})
        return await until(lambda: len(processes.found()) == 4, "the server and three that left it are there")

    assert await used(raw(folder), use) == "True"


async def test_a_host_that_is_killed_leaves_no_server_and_nothing_that_it_started(
    folder: Path, processes: Processes
) -> None:
    host = subprocess.Popen(
        [sys.executable, "-m", "tests.actors.mcp_host", str(folder)], cwd=REPOSITORY, stderr=subprocess.DEVNULL
    )
    try:
        # The host itself, the server, and two that have left it.
        await until(lambda: len(processes.found()) == 4, "all processes are there", within_s=PATIENCE_S)
    finally:
        host.kill()
        host.wait()

    await until(lambda: processes.found() == [], "no process is left", within_s=PATIENCE_S)


# ---- durable turns -------------------------------------------------------------------------------


class Till(BaseModel):
    pass


class Count(Request[str]):
    deadly: int


def durable(server: McpServer, faint: list[str]) -> App:
    """An app whose clerk counts by a tool, and faints afterwards as often as `faint` has something."""
    listed = server

    class Clerk(DurableAgent[Till]):
        tools = [listed]

        @on
        async def count(self, request: Count, ctx: DurableContext) -> str:
            told = str(await ctx.tools.call("raw_count", {"size": request.deadly}))
            if faint:
                raise RuntimeError(faint.pop())
            return told

    return App("desk", Supervisor(children=[child(server), child(Clerk, id="clerk")]), journal="memory")


async def test_in_a_durable_turn_a_call_is_a_step_that_is_made_once(folder: Path) -> None:
    async with durable(raw(folder), ["faints"]).start(engine="inline") as running:
        assert await running.ref("desk/clerk").ask(Count(deadly=0), timeout_s=PATIENCE_S) == "1"

    assert (folder / "counted").read_text() == "x"


async def test_of_a_call_in_a_durable_turn_whose_server_died_a_person_decides(folder: Path) -> None:
    async with durable(raw(folder), []).start(engine="inline") as running:
        with pytest.raises(InQuarantine, match="raw_count"):
            await running.ref("desk/clerk").ask(Count(deadly=1), timeout_s=PATIENCE_S)

    assert (folder / "counted").read_text() == "x"


async def test_an_idempotent_call_in_a_durable_turn_whose_server_died_is_a_recorded_error(folder: Path) -> None:
    async with durable(raw(folder, idempotent=["count"]), []).start(engine="inline") as running:
        with pytest.raises(ServerLost):
            await running.ref("desk/clerk").ask(Count(deadly=1), timeout_s=PATIENCE_S)


def test_pins_are_what_a_server_said(folder: Path) -> None:
    pins = read_pins(folder / "mcp.lock", "raw")

    assert pins is not None and pins["add"].schema["required"] == ["a", "b"]
    assert isinstance(Crashed, type)
