"""Calls of tools in plain agents: what comes of them, and of tools that misbehave."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from regrow import AskFailed, Context, NotAllowed, Refused
from regrow.actors import tool_runner
from regrow.actors.step import Step
from regrow.actors.threads import HandlerThreads, in_thread
from regrow.actors.tool import tool
from regrow.actors.tool_calls import Tools
from regrow.actors.tool_errors import (
    InvalidArguments,
    InvalidResult,
    NotApproved,
    ResultTooLarge,
    ToolBusy,
    ToolDenied,
    ToolFailed,
    ToolTimedOut,
    UnknownTool,
)
from regrow.actors.tool_runner import runner_of
from regrow.router.conversation import ToolCall, ToolResult
from regrow.runtime.testing import pass_time, virtual
from tests.actors.tool_shop import Do, shop, used

LARGE = 10_000_000
PATIENCE_S = 30.0
"""How long a thread of a test that fails waits at most."""


@tool
async def greet(name: str, ctx: Context) -> str:
    """Greets somebody.

    Args:
        name: who
    """
    return f"hello {name} from {ctx.id}"


@tool
def add(a: int, b: int = 1) -> int:
    """Adds."""
    assert threading.current_thread() is not threading.main_thread()
    return a + b


@virtual
async def test_a_tool_gives_its_result_by_itself_by_its_name_and_by_json() -> None:
    async def use(ctx: Context) -> object:
        return [
            await ctx.tools.call(greet, {"name": "Ada"}),
            await ctx.tools.call("add", {"a": 1}),
            await ctx.tools.call("add", '{"a": 1, "b": 3}'),
        ]

    assert await used([greet, add], use) == "['hello Ada from desk/shop', 2, 4]"


@virtual
async def test_a_step_has_a_key_that_no_other_call_has() -> None:
    @tool
    async def key(step: Step) -> str:
        """Tells its key."""
        return step.key

    async def use(ctx: Context) -> object:
        return len({await ctx.tools.call(key) for _ in range(3)})

    assert await used([key], use) == "3"


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (("add", {"a": 1}), UnknownTool, "desk/shop has no tool called 'add'; it has greet"),
        ((add, {"a": 1}), ToolDenied, "desk/shop may not run add, which is not in the list"),
        (("nothing", ""), UnknownTool, "has no tool called 'nothing'"),
        (("greet", "{"), InvalidArguments, "greet was not run"),
        ((greet, {"nam": "x"}), InvalidArguments, "name: Field required"),
    ],
    ids=["unlisted-name", "unlisted-tool", "unknown", "broken-json", "wrong-arguments"],
)
def test_what_is_denied_reaches_the_asker_by_name_and_the_agent_lives(
    call: tuple[Any, Any], error: type[Refused], told: str
) -> None:
    @virtual
    async def run() -> None:
        async def use(ctx: Context) -> object:
            return await ctx.tools.call(*call)

        async with shop([greet], use).start(engine="inline") as running:
            for _ in range(2):
                with pytest.raises(error, match=told):
                    await running.ref("desk/shop").ask(Do())

    run()


@virtual
async def test_an_async_tool_that_hangs_is_cancelled_at_its_limit_of_time() -> None:
    ended: list[str] = []

    @tool(timeout_s=5)
    async def hang() -> str:
        """Hangs."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.append("cancelled")
        return ""

    async def use(ctx: Context) -> object:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ToolTimedOut, match=r"hang was stopped after 5 s \(timeout_s\)"):
            await ctx.tools.call(hang)
        return asyncio.get_running_loop().time() - began

    assert float(await used([hang], use)) == pytest.approx(5.0, abs=0.01)
    assert ended == ["cancelled"]


@virtual
async def test_one_that_swallows_its_cancellation_is_left_to_itself_and_keeps_its_place() -> None:
    gate = asyncio.Event()

    @tool(timeout_s=5, concurrency=1)
    async def deaf() -> str:
        """Hangs."""
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return ""

    async def use(ctx: Context) -> object:
        with pytest.raises(ToolTimedOut, match="was stopped after 5 s"):
            await ctx.tools.call(deaf)
        with pytest.raises(ToolBusy, match="all its 1 places in this host were taken"):
            await ctx.tools.call(deaf)
        left = runner_of(ctx.runtime).left_to_themselves
        gate.set()
        await pass_time(0.1)
        return left, runner_of(ctx.runtime).left_to_themselves, await ctx.tools.call(deaf)

    assert await used([deaf], use) == "(1, 0, '')"


@pytest.mark.slow
async def test_a_tool_in_a_thread_that_hangs_is_left_at_its_limit_of_time_and_keeps_its_place() -> None:
    gate = threading.Event()  # on the real clock, since virtual time waits for threads

    @tool(timeout_s=0.25, concurrency=1)
    def block() -> str:
        """Blocks."""
        gate.wait(PATIENCE_S)
        return ""

    async def use(ctx: Context) -> object:
        with pytest.raises(ToolTimedOut, match=r"block was stopped after 0\.25 s"):
            await ctx.tools.call(block)
        with pytest.raises(ToolBusy, match="all its 1 places in this host were taken"):
            await ctx.tools.call(block)
        gate.set()
        return "went on"

    assert await used([block], use) == "went on"


@pytest.mark.slow
async def test_tools_that_hang_take_no_thread_from_handlers_and_one_that_finds_none_says_that_it_was_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = threading.Event()
    threads = HandlerThreads(2)
    monkeypatch.setattr(tool_runner, "_tool_threads", lambda: threads)

    @tool(timeout_s=0.25, cost_usd=1.0)
    def block() -> str:
        """Blocks."""
        gate.wait(PATIENCE_S)
        return ""

    async def use(ctx: Context) -> object:
        ended = await asyncio.gather(*(ctx.tools.call(block) for _ in range(3)), return_exceptions=True)
        assert sorted(type(each).__name__ for each in ended) == ["ToolBusy", "ToolTimedOut", "ToolTimedOut"]
        assert "block was not run: for 0.25 s all" in str(next(each for each in ended if isinstance(each, ToolBusy)))
        ran = await in_thread(lambda: "a handler ran", ())
        gate.set()
        return ran

    assert await used([block], use) == "a handler ran"


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (ValueError("no such shop"), r"broken failed \(ValueError: no such shop\)"),
        (KeyError(), r"broken failed \(KeyError\)"),
        (SystemExit(3), r"broken failed \(SystemExit: 3\)"),
        (Odd(), r"broken failed \(Odd: its text can not be had"),
        (ValueError("x" * 100_000), r"broken failed \(ValueError: x{1000}\)"),
        (asyncio.CancelledError(), "broken failed: it cancelled itself"),
        (StopIteration(), "broken failed"),
        (AskFailed("desk/other", None, "desk/other died"), r"broken failed \(AskFailed: desk/other died\)"),  # type: ignore[arg-type]
    ],
    ids=["exception", "mute", "exit", "odd", "long", "cancelled", "stop-iteration", "another-agent"],
)
@pytest.mark.parametrize("is_async", [True, False], ids=["async", "thread"])
def test_a_tool_that_raises_is_told_and_its_agent_lives(raised: BaseException, told: str, is_async: bool) -> None:
    @tool
    async def broken() -> str:
        """Breaks."""
        raise raised

    @tool(name="broken")
    def broken_in_a_thread() -> str:
        """Breaks."""
        raise raised

    each = broken if is_async else broken_in_a_thread

    async def use(ctx: Context) -> object:
        return await ctx.tools.call(each)

    @virtual
    async def run() -> None:
        async with shop([each], use).start(engine="inline") as running:
            for _ in range(2):
                with pytest.raises(ToolFailed, match=told) as failed:
                    await running.ref("desk/shop").ask(Do())
                assert failed.value.tool == "broken"

    run()


@virtual
async def test_a_refusal_of_the_tools_own_stays_what_it_is() -> None:
    @tool
    async def refuse() -> str:
        """Refuses."""
        raise Refused("we have no such shop")

    async def use(ctx: Context) -> object:
        return await ctx.tools.call(refuse)

    with pytest.raises(Refused, match=r"^we have no such shop$"):
        await used([refuse], use)


@pytest.mark.parametrize("gives", [3, None, ["x", 4], object()])
def test_what_is_no_result_of_its_type_is_told(gives: object) -> None:
    @tool
    async def wrong() -> list[str]:
        """Gives something else."""
        return gives  # type: ignore[return-value]

    async def use(ctx: Context) -> object:
        return await ctx.tools.call(wrong)

    @virtual
    async def run() -> None:
        with pytest.raises(InvalidResult, match=r"wrong gave .*, which is not what it declares"):
            await used([wrong], use)

    run()


@virtual
async def test_a_result_without_a_json_form_is_told() -> None:
    @tool
    async def wrong() -> Any:
        """Gives something else."""
        return object()

    async def use(ctx: Context) -> object:
        return await ctx.tools.call(wrong)

    with pytest.raises(InvalidResult, match="it has no JSON form"):
        await used([wrong], use)


@virtual
async def test_ten_megabytes_are_too_much_and_a_tool_may_say_how_much_is() -> None:
    @tool
    async def large(size: int) -> str:
        """Gives much."""
        return "x" * size

    @tool(result_bytes=LARGE + 2)
    async def larger(size: int) -> str:
        """Gives more."""
        return "x" * size

    async def use(ctx: Context) -> object:
        with pytest.raises(ResultTooLarge, match=r"large gave 10,000,002 bytes as JSON, and 1,048,576 is the limit"):
            await ctx.tools.call(large, {"size": LARGE})
        return len(await ctx.tools.call(larger, {"size": LARGE}))

    assert await used([large, larger], use) == str(LARGE)


@virtual
async def test_no_more_calls_run_at_once_than_the_tool_allows() -> None:
    running, most = 0, 0

    @tool(concurrency=2)
    async def slow() -> None:
        """Takes a second."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await pass_time(1)
        running -= 1

    async def use(ctx: Context) -> object:
        await asyncio.gather(*(ctx.tools.call(slow) for _ in range(7)))
        return most

    assert await used([slow], use) == "2"


@virtual
async def test_a_turn_that_is_cancelled_cancels_its_tools() -> None:
    log: list[str] = []

    @tool
    async def slow() -> None:
        """Takes long."""
        log.append("begun")
        try:
            await pass_time(20)
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    async def use(ctx: Context) -> object:
        return await ctx.tools.call(slow)

    async with shop([slow], use).start(engine="inline") as running:
        asking = asyncio.create_task(running.ref("desk/shop").ask(Do()))
        await pass_time(1)
        await running.ref("desk/shop").stop()
        await asyncio.wait([asking])

    assert log == ["begun", "cancelled"]


@virtual
async def test_a_tool_that_needs_consent_is_denied_in_a_plain_agent_with_a_sentence_that_says_so() -> None:
    @tool(approval=lambda call: call.cents > 100)
    async def pay(cents: int) -> str:
        """Pays."""
        return f"paid {cents}"

    async def use(ctx: Context) -> object:
        with pytest.raises(NotApproved, match="desk/shop is a plain Agent, which can not wait for one"):
            await ctx.tools.call(pay, {"cents": 101})
        return await ctx.tools.call(pay, {"cents": 100})

    assert await used([pay], use) == "paid 100"


@virtual
async def test_calls_failures_time_and_cost_are_counted() -> None:
    @tool(cost_usd=0.25)
    async def search(fails: bool = False) -> str:
        """Searches."""
        await pass_time(2)
        if fails:
            raise ValueError("nothing")
        return "found"

    async def use(ctx: Context) -> object:
        await ctx.tools.call(search)
        with pytest.raises(ToolFailed):
            await ctx.tools.call(search, {"fails": True})
        with pytest.raises(InvalidArguments):
            await ctx.tools.call(search, {"fails": "maybe"})
        return ctx.tools.counts()["search"]

    assert await used([search], use) == "ToolCounts(calls=2, failed=1, seconds=4.0, cost_usd=0.5)"


# ---- for models and frameworks -------------------------------------------------------------------


@virtual
async def test_a_model_is_told_of_the_tools_that_may_run_and_of_no_other() -> None:
    async def use(ctx: Context) -> object:
        with ctx.tools.only(add):
            [schema] = ctx.tools.schemas()
        return [each.name for each in ctx.tools.schemas()], schema.name, schema.parameters

    names, name, parameters = eval(await used([greet, add], use))
    assert (names, name) == (["greet", "add"], "add")
    assert parameters == (
        '{"additionalProperties":false,"properties":{"a":{"type":"integer"},"b":{"default":1,"type":"integer"}},'
        '"required":["a"],"type":"object"}'
    )


@virtual
async def test_a_model_is_told_a_result_or_why_there_is_none_and_nothing_is_raised() -> None:
    async def use(ctx: Context) -> object:
        asked = [("greet", '{"name": "Ada"}'), ("add", '{"a": 1}'), ("add", '{"a": '), ("rm", "{}")]
        return [
            await ctx.tools.answer(ToolCall(id=str(number), name=name, arguments=arguments))
            for number, (name, arguments) in enumerate(asked)
        ]

    names = {"ToolResult": ToolResult}
    told: list[ToolResult] = eval(await used([greet, add], use), names)
    assert [(each.call_id, each.is_error) for each in told] == [("0", False), ("1", False), ("2", True), ("3", True)]
    assert [each.content for each in told[:2]] == ["hello Ada from desk/shop", "2"]
    assert told[2].content.startswith("add was not run, since its arguments are not what it takes")
    assert told[3].content == "desk/shop has no tool called 'rm'; it has greet, add: use one of them, or do without"


@virtual
async def test_bound_functions_look_like_the_tools_and_go_through_the_gate() -> None:
    import inspect

    async def use(ctx: Context) -> object:
        hello, sum_ = ctx.tools.functions()
        with ctx.tools.only():
            with pytest.raises(NotAllowed):
                await hello("Ada")
        with pytest.raises(TypeError):
            await hello()
        return [
            hello.__name__,
            (hello.__doc__ or "").splitlines()[0],
            str(inspect.signature(hello)),
            sorted(hello.__annotations__),
            await hello(name="Ada"),
            await sum_(1, b=2),
        ]

    assert eval(await used([greet, add], use)) == [
        "greet",
        "Greets somebody.",
        "(name: str) -> str",
        ["name", "return"],
        "hello Ada from desk/shop",
        3,
    ]


@virtual
async def test_a_turn_that_is_over_runs_no_tool() -> None:
    kept: list[Tools] = []

    async def use(ctx: Context) -> object:
        kept.append(ctx.tools)
        return ""

    async with shop([greet], use).start(engine="inline") as running:
        await running.ref("desk/shop").ask(Do())
        await running.ref("desk/shop").stop()
        await pass_time(1)

        with pytest.raises(Exception, match="has ended"):
            await kept[0].call(greet, {"name": "Ada"})
