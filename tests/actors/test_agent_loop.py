"""The agent loop in a plain agent: model and tools in turns until there is an answer."""

from __future__ import annotations

import asyncio

import pytest

from regrow import App, Context, Refused, agent
from regrow.actors.loop_answer import LoopAnswer
from regrow.actors.loop_errors import ModelFailed
from regrow.actors.tool import tool
from regrow.actors.tool_errors import ToolDenied
from regrow.router.conversation import Role, Said, ToolResult
from regrow.router.errors import RateLimited
from regrow.runtime.errors import ContactLost, Misuse
from regrow.runtime.testing import pass_time, virtual
from regrow.testing import ScriptedModel, TestApp
from tests.actors.loop_stage import Do, Stand, call, calling, looped, saying

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_is_done() -> None:
    done.clear()


@tool
async def find(order: str) -> int:
    """Finds an order."""
    await pass_time(3.0 if order == "slow" else 1.0)
    done.append(f"find {order}")
    return len(order)


@tool(cost_usd=0.5)
async def refund(order: str) -> str:
    """Refunds an order."""
    done.append(f"refund {order}")
    return f"refunded {order}"


@tool(timeout_s=5)
async def hang() -> str:
    """Hangs."""
    await asyncio.Event().wait()
    return ""


@tool
async def fail(how: str) -> str:
    """Fails."""
    if how == "refuses":
        raise Refused("no such\norder")
    raise ValueError("two\nlines")


@tool
async def lie() -> int:
    """Gives something else than it declares."""
    return "no number"  # type: ignore[return-value]


@tool
async def flood() -> str:
    """Gives ten megabytes."""
    return "x" * 10_000_000


@tool
async def chapter() -> str:
    """Gives more than a model can read."""
    return "word " * 100_000


@tool(approval=True)
async def pay() -> str:
    """Pays."""
    done.append("pay")
    return "paid"


ALL = [find, refund, hang, fail, lie, flood, chapter, pay]


async def plainly(ctx: Context) -> LoopAnswer[None]:
    return await ctx.models.run("Refund A if it is late")


@virtual
async def test_a_model_that_asks_for_nothing_answers_at_once() -> None:
    stand = await looped(plainly, ["It is not late"], tools=ALL)

    assert (stand.answer.text, stand.answer.turns, stand.answer.calls) == ("It is not late", 1, ())
    (request,) = stand.model.requests
    assert request.prompt == "Refund A if it is late"
    assert [schema.name for schema in request.tools] == [each.name for each in ALL]


@virtual
async def test_model_and_tools_take_turns_until_there_is_an_answer() -> None:
    script = [call("find", '{"order": "A"}'), call("refund", '{"order": "A"}', "2"), "It is refunded"]
    stand = await looped(plainly, script, tools=ALL)

    answer = stand.answer
    assert (answer.text, answer.turns, answer.output) == ("It is refunded", 3, None)
    assert [(each.name, each.arguments, each.told, each.outcome) for each in answer.calls] == [
        ("find", '{"order": "A"}', "1", "done"),
        ("refund", '{"order": "A"}', "refunded A", "done"),
    ]
    assert answer.calls[0].seconds == pytest.approx(1.0)
    assert answer.calls[1].cost == 0.5
    assert [type(each) for each in answer.messages] == [Said, Said, ToolResult, Said, ToolResult, Said]
    assert answer.messages[0] == Said(role=Role.USER, text="Refund A if it is late")
    assert answer.messages[-1] == Said(role=Role.ASSISTANT, text="It is refunded")
    assert stand.told() == ["1", "refunded A"]


@virtual
async def test_calls_of_one_turn_run_side_by_side_and_are_told_in_their_order() -> None:
    calls = calling(*(call("find", f'{{"order": "{order}"}}', order) for order in ("slow", "A", "BB")))
    stand = await looped(plainly, [calls, "done"], tools=ALL)

    assert sorted(done[:2]) == ["find A", "find BB"]
    assert done[2:] == ["find slow"]
    results = [each for each in stand.model.requests[1].messages if isinstance(each, ToolResult)]
    assert [(each.call_id, each.content) for each in results] == [("slow", "4"), ("A", "1"), ("BB", "2")]
    assert max(each.seconds for each in stand.answer.calls) == pytest.approx(3.0)


@virtual
async def test_no_more_calls_than_the_bound_run_at_once() -> None:
    running, most = 0, 0

    @tool(concurrency=100)
    async def count() -> str:
        """Counts who runs."""
        nonlocal running, most
        running += 1
        most = max(most, running)
        await pass_time(1)
        running -= 1
        return ""

    calls = calling(*(call("count", id=str(number)) for number in range(40)))
    stand = await looped(plainly, [calls, "done"], tools=[count])

    assert len(stand.answer.calls) == 40
    assert most == 16


@pytest.mark.parametrize(
    ("asked", "outcome", "told"),
    [
        (call("delete"), "UnknownTool", "desk/shop has no tool called 'delete'; it has find, refund"),
        (
            call("find", "{"),
            "InvalidArguments",
            "find was not run, since its arguments are not what it takes (the whol",
        ),
        (call("find", '["A"]'), "InvalidArguments", "find was not run, since its arguments are not what it takes"),
        (call("find", '{"order": 7, "x": 1}'), "InvalidArguments", "find was not run"),
        (call("hang"), "ToolTimedOut", "hang was stopped after 5 s (timeout_s) without a result"),
        (call("fail", '{"how": "raises"}'), "ToolFailed", "fail failed (ValueError: two lines)"),
        (call("fail", '{"how": "refuses"}'), "Refused", "fail refused (Refused: no such order)"),
        (call("lie"), "InvalidResult", "lie gave str, which is not what it declares"),
        (call("flood"), "ResultTooLarge", "flood gave 10,000,002 bytes as JSON, and 1,048,576 is the limit"),
        (call("chapter"), "ResultTooLarge", "chapter gave 500,000 bytes, and of this result"),
        (call("pay"), "NotApproved", "pay was not run: this call of it needs the consent of a person"),
    ],
    ids=lambda value: value.name + value.arguments if hasattr(value, "arguments") else "",
)
def test_what_goes_wrong_with_a_tool_is_told_to_the_model_in_one_line_and_it_goes_on(
    asked: object, outcome: str, told: str
) -> None:
    @virtual
    async def run() -> None:
        stand = await looped(plainly, [asked, "I could not"], tools=ALL)

        (made,) = stand.answer.calls
        assert made.outcome == outcome
        assert made.told.startswith(told)
        assert "\n" not in made.told
        assert stand.told() == [made.told]
        assert [each.is_error for each in stand.answer.messages if isinstance(each, ToolResult)] == [True]
        assert stand.answer.text == "I could not"

    run()
    assert done == []


@virtual
async def test_one_call_that_fails_does_not_end_those_beside_it() -> None:
    calls = calling(call("fail", '{"how": "raises"}'), call("find", '{"order": "A"}', "2"), call("nothing", "", "3"))
    stand = await looped(plainly, [calls, "done"], tools=ALL)

    assert [each.outcome for each in stand.answer.calls] == ["ToolFailed", "done", "UnknownTool"]


@virtual
async def test_tools_narrow_what_the_model_may_call_and_what_it_is_told_of() -> None:
    async def narrowed(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", tools=[find])

    stand = await looped(narrowed, [call("refund", '{"order": "A"}'), "I may not"], tools=ALL)

    assert [schema.name for schema in stand.model.requests[0].tools] == ["find"]
    assert stand.told() == ["desk/shop has no tool called 'refund'; it has find: use one of them, or do without"]
    assert done == []


@virtual
async def test_an_empty_list_of_tools_allows_none() -> None:
    async def without(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", tools=[])

    stand = await looped(without, [call("refund", '{"order": "A"}'), "I may not"], tools=ALL)

    assert stand.model.requests[0].tools == ()
    assert stand.answer.calls[0].outcome == "UnknownTool"


@virtual
async def test_a_capability_narrows_further_whatever_tools_says() -> None:
    async def narrowed(ctx: Context) -> LoopAnswer[None]:
        with ctx.tools.only(find):
            return await ctx.models.run("Refund A", tools=[find, refund])

    stand = await looped(narrowed, [call("refund", '{"order": "A"}'), "I may not"], tools=ALL)

    assert [schema.name for schema in stand.model.requests[0].tools] == ["find"]
    assert stand.answer.calls[0].outcome == "ToolDenied"
    assert done == []


@pytest.mark.parametrize("wanted", [[refund], ["refund"]])
def test_a_tool_that_the_class_does_not_list_is_denied_before_the_model_is_asked(wanted: list[object]) -> None:
    @virtual
    async def run() -> None:
        async def wider(ctx: Context) -> LoopAnswer[None]:
            return await ctx.models.run("Refund A", tools=wanted)  # type: ignore[arg-type]

        stand = await looped(wider, ["never"], tools=[find], fails=True)

        assert isinstance(stand.error, Refused)
        assert type(stand.error).__name__ in ("ToolDenied", "UnknownTool")
        assert stand.model.requests == []

    run()


@virtual
async def test_a_namesake_of_a_listed_tool_is_denied() -> None:
    other = tool(name="find")(refund.function)

    async def wider(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Refund A", tools=[other])

    stand = await looped(wider, ["never"], tools=[find], fails=True)

    assert isinstance(stand.error, ToolDenied)


@virtual
async def test_a_conversation_goes_on_where_its_answer_left_it() -> None:
    async def twice(ctx: Context) -> LoopAnswer[None]:
        first = await ctx.models.run("Refund A", instructions="Be brief.")
        return await ctx.models.run([*first.messages, Said(role=Role.USER, text="And B?")])

    stand = await looped(twice, [call("find", '{"order": "A"}'), "done", "B as well"], tools=ALL)

    assert [each.instructions for each in stand.model.requests] == ["Be brief.", "Be brief.", ""]
    last = stand.model.requests[-1]
    assert last.prompt == ""
    assert [each.text for each in last.messages if isinstance(each, Said)] == ["Refund A", "", "done", "And B?"]
    assert stand.answer.turns == 1
    assert [each.text for each in stand.answer.said if isinstance(each, Said)] == ["B as well"]


@virtual
async def test_usage_is_that_of_all_turns_together() -> None:
    script = [calling(call("find", '{"order": "A"}'), input_tokens=7, output_tokens=3), saying("done", 20, 4)]
    stand = await looped(plainly, script, tools=ALL)

    assert (stand.answer.usage.input_tokens, stand.answer.usage.output_tokens) == (27, 7)
    assert stand.answer.cost == 0.0, "the model of a test costs nothing"


@virtual
async def test_a_model_that_fails_ends_the_loop_by_name() -> None:
    script = [call("refund", '{"order": "A"}'), RateLimited("too many calls")]
    stand = await looped(plainly, script, tools=ALL, fails=True)

    assert isinstance(stand.error, ModelFailed)
    assert isinstance(stand.error.__cause__, RateLimited)
    assert done == ["refund A"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"prompt": ""}, "the prompt is empty"),
        ({"prompt": []}, "the prompt is empty"),
        ({"prompt": [{"role": "user"}]}, "the conversation holds a dict"),
        ({"prompt": "x", "max_turns": 0}, "max_turns=0: give a whole number from 1 to 400"),
        ({"prompt": "x", "max_cost": float("nan")}, "max_cost=nan: give US dollars"),
        ({"prompt": "x", "max_tokens": 0}, "max_tokens=0"),
        ({"prompt": "x", "window_tokens": 100}, "leaves no room to read"),
        ({"prompt": "x", "tools": "find"}, "give a list"),
        ({"prompt": "x", "tools": [None]}, "holds None; give tools, which @tool makes"),
        ({"prompt": "x", "tools": [len]}, "holds <built-in function len>"),
        ({"prompt": "x", "tools": 5}, "tools=5: give a list"),
        ({"prompt": "x", "handoff": "desk/shop"}, "handoff='desk/shop': give a list of agents"),
        ({"prompt": "x", "handoff": 5}, "handoff=5: give a list"),
        ({"prompt": "x", "max_turns": "8"}, "max_turns='8': give a whole number"),
        ({"prompt": "x", "max_turns": 2.5}, "max_turns=2.5: give a whole number"),
        ({"prompt": "x", "max_turns": True}, "max_turns=True: give a whole number"),
        ({"prompt": "x", "max_cost": "1"}, "max_cost='1': give US dollars"),
        ({"prompt": "x", "max_tokens": 1.5}, "max_tokens=1.5: give a whole number above 0"),
        ({"prompt": "x", "max_output_tokens": 0}, "max_output_tokens=0: give a whole number from 1 to 200,000"),
        ({"prompt": "x", "window_tokens": "9"}, "window_tokens='9': give a whole number"),
        ({"prompt": 5}, "prompt=5: give a question"),
        ({"prompt": None}, "prompt=None: give a question"),
        ({"prompt": "x", "output": "Decision"}, "output='Decision' is the name of a type"),
        ({"prompt": "x", "instructions": 5}, "instructions=5: give a text"),
        ({"prompt": "x", "work": "reason"}, "work='reason': give one of Work"),
        ({"prompt": "x", "tier": "small"}, "tier='small': give Tier.SMALL"),
        ({"prompt": "x", "context": 5}, "context=5: give a list of strings"),
    ],
    ids=str,
)
def test_arguments_that_are_none_are_a_misuse_with_the_mend(arguments: dict[str, object], told: str) -> None:
    @virtual
    async def run() -> None:
        async def wrong(ctx: Context) -> LoopAnswer[None]:
            return await ctx.models.run(**arguments)  # type: ignore[call-overload]

        stand: Stand = await looped(wrong, ["never"], tools=ALL, fails=True)

        assert isinstance(stand.error, Misuse)
        assert told in str(stand.error)

    run()


@virtual
async def test_what_is_wrong_with_this_turn_and_not_with_a_tool_ends_the_loop() -> None:
    @tool
    async def misuses() -> str:
        """Uses something wrongly."""
        raise Misuse("as a library may")

    stand = await looped(
        plainly,
        [calling(call("misuses"), call("find", '{"order": "slow"}', "2"))],
        tools=[misuses, find],
        fails=True,
    )

    assert isinstance(stand.error, Misuse)
    assert done == ["find slow"], "the call beside it had its end"


@virtual
async def test_an_agent_function_runs_a_loop_as_well() -> None:
    @agent
    async def wonder(ctx: Context, about: str) -> str:
        return (await ctx.models.run(f"Why {about}?")).text

    model = ScriptedModel(["Because"])
    async with TestApp(App("desk", wonder), models=model) as t:
        assert await t.ask(wonder, "me") == "Because"

    assert model.requests[0].prompt == "Why me?"


@virtual
async def test_more_tools_and_agents_than_a_model_takes_are_a_misuse() -> None:
    many = [tool(name=f"find_{number}")(find.function) for number in range(128)]

    async def use(ctx: Context) -> LoopAnswer[None]:
        return await ctx.models.run("Go on", handoff=["desk/other"])

    stand = await looped(use, ["never"], tools=many, fails=True)

    assert isinstance(stand.error, Misuse)
    assert "128 tools and 1 agents to hand over to" in str(stand.error)


@virtual
async def test_whoever_asks_its_own_agent_or_cannot_be_told_fails_as_a_tool_and_costs_what_it_ran() -> None:
    @tool
    async def asks_itself(ctx: Context) -> str:
        """Asks its own agent."""
        return await ctx.ask(ctx.id, Do())

    @tool
    async def loses_contact() -> str:
        """Asks somebody whose host is gone."""
        raise ContactLost("desk/gone", "Do")

    @tool
    async def odd() -> str:
        """Refuses in characters that do not travel."""
        raise Refused("no \ud800")

    @tool(cost_usd=1.0, timeout_s=2, concurrency=1)
    async def narrow() -> str:
        """Has one place."""
        await asyncio.Event().wait()
        return ""

    calls = calling(call("asks_itself"), call("loses_contact", id="2"), call("odd", id="3"))
    both = calling(call("narrow", id="4"), call("narrow", id="5"))
    stand = await looped(plainly, [calls, both, "done"], tools=[asks_itself, loses_contact, odd, narrow])

    made = stand.answer.calls
    assert [type(each.error).__name__ for each in made] == [
        "ToolFailed",
        "ToolFailed",
        "Refused",
        "ToolTimedOut",
        "ToolBusy",
    ]
    assert "CallingSelf" in made[0].told
    assert "ContactLost" in made[1].told
    assert made[2].told == "odd refused (Refused: no \\ud800)"
    assert [each.cost for each in made[3:]] == [1.0, 0.0]
