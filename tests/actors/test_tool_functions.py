"""Tools of functions and of adopted code: how a framework gets at them, always through the gate (SEMANTICS 10)."""

from __future__ import annotations

import asyncio
import inspect
import threading
import typing
from typing import Any

import pytest

from regrow import App, Context, Prompt, Request, adopt, agent, child
from regrow.actors.errors import InvalidAgent
from regrow.actors.function import FunctionAgent
from regrow.actors.threads import in_thread
from regrow.actors.tool import tool
from regrow.actors.tool_errors import InvalidTool, ToolCalledDirectly, ToolDenied
from regrow.runtime.errors import AskFailed
from regrow.runtime.testing import pass_time, virtual
from regrow.supervisors import Supervisor


@tool
async def look_up(word: str, ctx: Context, times: int = 1) -> str:
    """Looks a word up.

    Args:
        word: which
    """
    return " ".join([f"{ctx.id}: {word}"] * times)


@tool
def count(word: str) -> int:
    """Counts letters."""
    return len(word)


class Framework:
    """As frameworks are: it was given its functions when it was built, long before there is any turn."""

    def __init__(self) -> None:
        self.functions = [look_up.as_function(), count.as_function()]

    async def run(self, prompt: str) -> str:
        found = [await function(prompt) for function in self.functions]
        return " ".join(map(str, found))

    def run_in_a_loop_of_its_own(self, prompt: str) -> str:
        return asyncio.run(self.run(prompt))


FRAMEWORK = Framework()


def blocking(prompt: str) -> str:
    return f"{look_up.as_function(blocking=True)(prompt)} in {threading.current_thread().name.partition('_')[0]}"


async def its_own_work(ctx: Context) -> None:
    names.append(",".join(each.name for each in ctx.tools.allowed()))


names: list[str] = []


async def answer_of(it: FunctionAgent[..., Any], request: Request[str]) -> str:
    async with App("desk", Supervisor(children=[child(it, id="it")])).start(engine="inline") as running:
        reply: str = await running.ref("desk/it").ask(request)
        return reply


@virtual
async def test_an_agent_function_may_run_what_its_decorator_lists() -> None:
    @agent(tools=[look_up])
    async def clerk(ctx: Context, word: str) -> str:
        return await ctx.tools.call(look_up, {"word": word})

    assert await answer_of(clerk, clerk.request("why")) == "desk/it: why"
    assert list(clerk.agent_class.listed_tools) == ["look_up"]


@virtual
async def test_a_framework_calls_functions_that_it_was_given_before_there_was_a_turn() -> None:
    assert await answer_of(adopt(FRAMEWORK.run, tools=[look_up, count]), Prompt(text="why")) == "desk/it: why 3"


@virtual
async def test_one_that_runs_a_loop_of_its_own_in_a_thread_can_call_them_too() -> None:
    it = adopt(FRAMEWORK.run_in_a_loop_of_its_own, tools=[look_up, count])

    assert await answer_of(it, Prompt(text="why")) == "desk/it: why 3"


@virtual
async def test_a_plain_function_in_a_thread_waits_for_what_a_tool_gives() -> None:
    it = adopt(blocking, tools=[look_up])

    assert await answer_of(it, it.request("why")) == "desk/it: why in regrow-handler"


@virtual
async def test_a_blocking_function_on_the_loop_is_a_misuse_and_would_hold_it_up() -> None:
    async def wrong(word: str) -> str:
        return str(look_up.as_function(blocking=True)(word))

    it = adopt(wrong, tools=[look_up])

    with pytest.raises(AskFailed, match="called on the loop of its host, which it would hold up"):
        await answer_of(it, it.request("why"))


@virtual
async def test_adopted_code_that_lists_less_than_its_framework_has_is_denied_the_rest() -> None:
    with pytest.raises(ToolDenied, match=r"may not run count, which is not in the list of its class \(look_up\)"):
        await answer_of(adopt(FRAMEWORK.run, tools=[look_up]), Prompt(text="why"))


@virtual
async def test_a_limit_of_the_turn_reaches_into_its_threads() -> None:
    @agent(tools=[look_up])
    async def clerk(ctx: Context, word: str) -> str:
        with ctx.tools.only():
            return str(await in_thread(look_up.as_function(blocking=True), (word,)))

    with pytest.raises(ToolDenied, match="may not run look_up on behalf of this message"):
        await answer_of(clerk, clerk.request("why"))


@virtual
async def test_what_is_an_agents_own_work_has_tools_as_well() -> None:
    names.clear()
    it = child(adopt(its_own_work, tools=[count]), id="it", restart="temporary")

    async with App("desk", Supervisor(children=[it])).start(engine="inline"):
        await pass_time(1)

    assert names == ["count"]


def test_a_function_for_frameworks_looks_like_the_tools_own_without_the_context() -> None:
    function = look_up.as_function()

    assert (function.__name__, inspect.iscoroutinefunction(function)) == ("look_up", True)
    assert str(inspect.signature(function)) == "(word: str, times: int = 1) -> str"
    assert typing.get_type_hints(function) == {"word": str, "times": int, "return": str}
    assert function.__doc__ == look_up.function.__doc__
    assert not inspect.iscoroutinefunction(look_up.as_function(blocking=True))


async def test_one_that_is_called_outside_of_a_turn_says_what_to_do() -> None:
    with pytest.raises(ToolCalledDirectly, match=r"call it from what an agent runs that lists it in `tools`"):
        await look_up.as_function()("why")


@pytest.mark.parametrize("make", [agent, adopt])
def test_a_list_that_is_none_is_refused_where_it_stands(make: Any) -> None:
    async def clerk(word: str) -> str:
        return word

    with pytest.raises(InvalidTool, match=r"clerk.tools has look, which is no tool"):
        make_with(make, clerk, tools=[look])
    with pytest.raises(InvalidAgent, match=r"(@agent|adopt) takes tools=.*, and got tool=; take it out"):
        make_with(make, clerk, tool=[look_up])


def make_with(make: Any, function: Any, **declared: Any) -> Any:
    return make(**declared)(function) if make is agent else make(function, **declared)


async def look(word: str) -> str:
    return word


def test_a_function_is_adopted_with_one_list_of_tools() -> None:
    async def clerk(word: str) -> str:
        return word

    first = adopt(clerk, tools=[count])

    assert adopt(clerk) is first
    assert adopt(clerk, tools=[count]) is first
    with pytest.raises(InvalidAgent, match="clerk is adopted already, with other tools"):
        adopt(clerk, tools=[look_up])
