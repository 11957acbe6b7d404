"""Every path by which the function of a tool can run: it goes through the gate, or it is denied.

What users can write is tried here, one path after the other; what our own code does, tests/tidy/test_tool_gate reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from regrow import Agent, App, Context, DurableAgent, DurableContext, Prompt, Refused, Request, agent, child, on
from regrow.actors.adopted import adopt
from regrow.actors.mcp_call import CallTool
from regrow.actors.mcp_server import mcp
from regrow.actors.threads import in_thread
from regrow.actors.tool import Tool, tool
from regrow.actors.tool_errors import InvalidTool, ToolCalledDirectly, ToolDenied, ToolFailed, UnknownTool
from regrow.router.conversation import ToolCall
from regrow.runtime.errors import AskFailed, InvalidDefinition, NotAllowed
from regrow.runtime.testing import virtual
from regrow.supervisors import Supervisor
from tests.actors.tool_shop import Do

ran: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    ran.clear()


@tool
async def forbidden(text: str = "") -> str:
    """Must not run."""
    ran.append(text)
    return text


@tool
def forbidden_in_a_thread(text: str = "") -> str:
    """Must not run."""
    ran.append(text)
    return text


@tool
async def allowed(text: str = "") -> str:
    """May run."""
    return text


@tool(name="allowed")
async def namesake(text: str = "") -> str:
    """Must not run, whatever it is called."""
    ran.append(text)
    return text


@tool
async def calls_on(ctx: Context) -> str:
    """Is allowed, and tries what is not."""
    return str(await ctx.tools.call(forbidden))


files = mcp("files", command=["must-not-run"], lock=Path(__file__).with_name("paths.lock"))
"""An MCP server whose tools no agent here lists."""


class Session(files.agent_class):  # type: ignore[name-defined,misc] # a class that is made for this server
    """The session with it, as far as it decides whom it obeys."""

    async def started(self, ctx: Context) -> None:
        ran.clear()


Path_ = Callable[[Context], Awaitable[object]]


async def by_object(ctx: Context) -> object:
    return await ctx.tools.call(forbidden)


async def by_object_in_a_thread(ctx: Context) -> object:
    return await ctx.tools.call(forbidden_in_a_thread)


async def by_name(ctx: Context) -> object:
    return await ctx.tools.call("forbidden")


async def by_a_namesake(ctx: Context) -> object:
    return await ctx.tools.call(namesake)


async def by_a_copy(ctx: Context) -> object:
    return await ctx.tools.call(tool(name="allowed")(forbidden.function))


async def by_another_tool(ctx: Context) -> object:
    return await ctx.tools.call(calls_on)


async def by_a_models_call(ctx: Context) -> object:
    answer = await ctx.tools.answer(ToolCall(id="1", name="forbidden"))
    assert answer.is_error
    raise UnknownTool(answer.content)


async def by_a_call_that_is_made_later(ctx: Context) -> object:
    return await ctx.tools.ready("forbidden", "{}", among=["forbidden", "allowed"]).make()


async def by_an_agent_loop(ctx: Context) -> object:
    return await ctx.models.run("use it", tools=[forbidden])


async def by_its_name_in_an_agent_loop(ctx: Context) -> object:
    return await ctx.models.run("use it", tools=["forbidden"])


async def by_a_namesake_in_an_agent_loop(ctx: Context) -> object:
    return await ctx.models.run("use it", tools=[namesake])


async def by_a_bound_function_of_a_wider_turn(ctx: Context) -> object:
    (function, *_) = ctx.tools.functions()
    with ctx.tools.only():
        return await function("x")


async def by_a_function_for_frameworks(ctx: Context) -> object:
    return await forbidden.as_function()("x")


async def by_one_that_blocks_a_thread(ctx: Context) -> object:
    return await in_thread(forbidden.as_function(blocking=True), ("x",))


async def by_a_function_of_a_loop_in_a_thread(ctx: Context) -> object:
    return await in_thread(lambda: asyncio.run(forbidden.as_function()("x")), ())  # type: ignore[arg-type]


async def by_a_function_for_frameworks_in_a_narrower_turn(ctx: Context) -> object:
    with ctx.tools.only():
        return await allowed.as_function()("x")


async def by_an_agent_that_is_not_listed(ctx: Context) -> object:
    return await ctx.tools.call(Narrow.as_tool(name="listed-nowhere"))


async def by_an_agent_in_a_narrower_turn(ctx: Context) -> object:
    with ctx.tools.only("narrow"):
        return await ctx.tools.call("narrow")


async def by_an_agent_in_a_turn_that_lists_none(ctx: Context) -> object:
    with ctx.tools.only("allowed"):
        return await ctx.tools.call("narrow")


async def directly(ctx: Context) -> object:
    return forbidden("x")


async def directly_in_a_thread(ctx: Context) -> object:
    return await in_thread(forbidden, ("x",))


async def after_the_list_was_changed(ctx: Context) -> object:
    Shop.tools.append(forbidden)
    return await ctx.tools.call(forbidden)


async def after_the_list_was_set(ctx: Context) -> object:
    Shop.tools = [forbidden]
    return await ctx.tools.call(forbidden)


async def beyond_the_capability_of_the_message(ctx: Context) -> object:
    with ctx.tools.only("forbidden"):
        return await ctx.ask("narrow", Do())


async def beyond_a_limit_that_would_widen(ctx: Context) -> object:
    with ctx.tools.only(calls_on):
        with ctx.tools.only(forbidden, allowed, calls_on):
            return await ctx.tools.call(allowed)


async def by_a_servers_tool(ctx: Context) -> object:
    return await ctx.tools.call(files.tool("write"), {"text": "x"})


async def by_the_name_of_a_servers_tool(ctx: Context) -> object:
    return await ctx.tools.call("files_write", {"text": "x"})


async def by_asking_the_session_with_a_server(ctx: Context) -> object:
    return await ctx.ask("files", to_the_session())


async def by_streaming_from_the_session_with_a_server(ctx: Context) -> object:
    async with ctx.ref("files").stream(to_the_session()) as stream:
        async for _ in stream:
            pass
    return stream.reply


async def by_asking_the_session_with_a_capability_that_looks_like_the_gates(ctx: Context) -> object:
    with ctx.tools.only("files_write", "^files_write"):
        return await ctx.ask("files", to_the_session())


def to_the_session() -> CallTool:
    return CallTool(name="write", tool="files_write", hash=files.pins["write"].hash, arguments='{"text": "x"}')


PATHS: list[tuple[Path_, type[Exception]]] = [
    (by_object, ToolDenied),
    (by_object_in_a_thread, ToolDenied),
    (by_name, UnknownTool),
    (by_a_namesake, ToolDenied),
    (by_a_copy, ToolDenied),
    (by_another_tool, ToolDenied),
    (by_a_models_call, UnknownTool),
    (by_a_call_that_is_made_later, UnknownTool),
    (by_an_agent_loop, ToolDenied),
    (by_its_name_in_an_agent_loop, UnknownTool),
    (by_a_namesake_in_an_agent_loop, ToolDenied),
    (by_a_bound_function_of_a_wider_turn, ToolDenied),
    (after_the_list_was_changed, ToolDenied),
    (after_the_list_was_set, ToolDenied),
    (beyond_the_capability_of_the_message, ToolDenied),
    (beyond_a_limit_that_would_widen, ToolDenied),
    (by_an_agent_that_is_not_listed, ToolDenied),
    (by_an_agent_in_a_narrower_turn, ToolFailed),
    (by_an_agent_in_a_turn_that_lists_none, ToolDenied),
    (by_a_function_for_frameworks, ToolDenied),
    (by_one_that_blocks_a_thread, ToolDenied),
    (by_a_function_of_a_loop_in_a_thread, ToolDenied),
    (by_a_function_for_frameworks_in_a_narrower_turn, ToolDenied),
    (by_a_servers_tool, ToolDenied),
    (by_the_name_of_a_servers_tool, UnknownTool),
    (by_asking_the_session_with_a_server, NotAllowed),
    (by_streaming_from_the_session_with_a_server, NotAllowed),
    (by_asking_the_session_with_a_capability_that_looks_like_the_gates, NotAllowed),
]
MISUSES: list[Path_] = [directly, directly_in_a_thread]

_path: list[Path_] = []


class Narrow(Agent):
    """Has a tool that the capability of its messages does not list."""

    tools = [allowed]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        return str(await ctx.tools.call(allowed))


ASKS_NARROW = Narrow.as_tool()


class Shop(Agent):
    tools: list[Tool[Any]] = [allowed, calls_on, ASKS_NARROW]  # type: ignore[misc]

    @on
    async def do(self, request: Do, ctx: Context) -> str:
        return str(await _path[-1](ctx))


class Nothing(BaseModel):
    pass


class Clerk(DurableAgent[Nothing]):
    tools: list[Tool[Any]] = [allowed, calls_on, ASKS_NARROW]  # type: ignore[misc]

    @on
    async def do(self, request: Do, ctx: DurableContext) -> str:
        return str(await _path[-1](ctx))


@agent(tools=[allowed, calls_on, ASKS_NARROW])
async def functional(ctx: Context, text: str = "") -> str:
    return str(await _path[-1](ctx))


@agent
async def bare(ctx: Context, text: str = "") -> str:
    return str(await ctx.tools.call(forbidden))


async def framework(ctx: Context, text: str = "") -> str:
    return str(await _path[-1](ctx))


async def bare_framework(prompt, **options):  # type: ignore[no-untyped-def] # as many methods of frameworks are
    return await forbidden.as_function()("x")


ADOPTED = adopt(framework, tools=[allowed, calls_on, ASKS_NARROW])
REQUESTS: dict[str, Callable[[], Request[str]]] = {
    "shop": Do,
    "clerk": Do,
    "functional": functional.request,
    "adopted": ADOPTED.request,
}


async def by_a_step(ctx: Context) -> object:
    assert isinstance(ctx, DurableContext)
    return await ctx.step("forbidden", forbidden, "x")


def desk() -> App:
    children = [child(Shop, id="shop"), child(Narrow, id="narrow"), child(Clerk, id="clerk")]
    children += [child(functional, id="functional"), child(ADOPTED, id="adopted")]
    children += [child(bare, id="bare"), child(adopt(bare_framework), id="bare-framework")]
    children += [child(Session, id="files")]
    return App("desk", Supervisor(children=children), journal="memory")


@pytest.mark.parametrize("who", REQUESTS)
@pytest.mark.parametrize(("path", "error"), PATHS, ids=[path.__name__ for path, _ in PATHS])
def test_each_path_that_a_handler_has_is_denied(path: Path_, error: type[Exception], who: str) -> None:
    @virtual
    async def run() -> None:
        _path.append(path)
        async with desk().start(engine="inline") as running:
            with pytest.raises(error):
                await running.ref(f"desk/{who}").ask(REQUESTS[who]())

    run()
    Shop.tools = [allowed, calls_on, ASKS_NARROW]

    assert ran == []


@pytest.mark.parametrize(
    ("who", "request_"), [("bare", bare.request()), ("bare-framework", Prompt(text="why"))], ids=["bare", "framework"]
)
def test_functions_and_adopted_code_have_no_tools_unless_somebody_lists_them(who: str, request_: Request[str]) -> None:
    @virtual
    async def run() -> None:
        async with desk().start(engine="inline") as running:
            with pytest.raises(ToolDenied, match="what is not in `tools` is denied"):
                await running.ref(f"desk/{who}").ask(request_)

    run()

    assert ran == []


@pytest.mark.parametrize("who", REQUESTS)
@pytest.mark.parametrize("path", [*MISUSES, by_a_step], ids=lambda path: path.__name__)
def test_each_path_around_the_gate_is_a_misuse_that_says_what_to_write(path: Path_, who: str) -> None:
    if path is by_a_step and who != "clerk":
        return  # a plain agent has none

    @virtual
    async def run() -> None:
        _path.append(path)
        async with desk().start(engine="inline") as running:
            with pytest.raises((AskFailed, Refused), match="ToolCalledDirectly"):
                await running.ref(f"desk/{who}").ask(REQUESTS[who]())

    run()

    assert ran == []


class Other(Request[str]):
    text: str = ""


def as_an_agent() -> object:
    return agent(forbidden)


def as_adopted_code() -> object:
    return adopt(forbidden)


def as_an_agent_of_a_tree() -> object:
    return child(forbidden, id="x")  # type: ignore[arg-type]


def as_a_handler() -> object:
    class Wrong(Agent):
        @on
        @tool
        async def other(self, message: Other) -> str:
            """Handles."""
            return ""

    return Wrong


def as_a_tool_of_a_tool() -> object:
    return tool(forbidden)


@pytest.mark.parametrize(
    "define", [as_an_agent, as_adopted_code, as_an_agent_of_a_tree, as_a_handler, as_a_tool_of_a_tool]
)
def test_a_tool_can_be_defined_as_nothing_else(define: Callable[[], object]) -> None:
    with pytest.raises((InvalidDefinition, InvalidTool)):
        define()


async def test_a_function_for_frameworks_runs_nothing_outside_of_a_turn() -> None:
    with pytest.raises(ToolCalledDirectly, match="outside of any agent's turn"):
        await forbidden.as_function()("x")
    with pytest.raises(ToolCalledDirectly, match="outside of any agent's turn"):
        forbidden.as_function(blocking=True)("x")

    assert ran == []


def test_a_call_of_a_tool_never_reaches_its_function() -> None:
    for call in (lambda: forbidden("x"), lambda: forbidden_in_a_thread(text="x"), lambda: forbidden.__call__("x")):
        with pytest.raises(ToolCalledDirectly):
            call()

    assert ran == []
