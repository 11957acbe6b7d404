"""Agents as tools of others: each call is an ask, with what its caller has and never more (SEMANTICS 10)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from regrow import Agent, App, Context, DurableAgent, Message, Refused, Request, adopt, agent, child, on
from regrow.actors import as_tool
from regrow.actors.agent import Agent as AnyAgent
from regrow.actors.tool import Tool, tool
from regrow.actors.tool_errors import InvalidTool, NotApproved, ToolDenied, ToolError, ToolFailed, ToolTimedOut
from regrow.router.conversation import ToolCall
from regrow.runtime.address import ActorId
from regrow.runtime.envelope import Origin
from regrow.runtime.testing import pass_time, virtual
from regrow.supervisors import Supervisor


@tool
async def search(word: str) -> str:
    """Searches."""
    return f"found {word}"


@tool
async def delete(word: str) -> str:
    """Deletes."""
    return f"deleted {word}"


class Answer(Message):
    text: str
    sources: tuple[str, ...] = ()


class Question(Request[Answer]):
    """Answers a question from what is known.

    Args:
        depth: how far to look
    """

    text: str = Field(description="what is to be known")
    depth: int = 1


class Use(Request[str]):
    """Has the chief do what the test has set."""


class Look(Request[str]):
    text: str = ""


seen: list[Context] = []
origins: list[Origin] = []
deadlines: list[float | None] = []


@pytest.fixture(autouse=True)
def _nothing_is_seen() -> None:
    seen.clear()
    origins.clear()
    deadlines.clear()


class WebAnalyst(Agent):
    tools = [search, delete]

    @on
    async def answer(self, question: Question, ctx: Context) -> Answer:
        seen.append(ctx)
        origins.append(ctx.origin())
        deadlines.append(ctx.deadline)
        match question.text:
            case "crash":
                raise ValueError("it is too hard")
            case "refuse":
                raise Refused("not that one")
            case "hang":
                await pass_time(3_600)
            case "delete":
                return Answer(text=await ctx.tools.call(delete, {"word": "it"}))
            case "back":
                return Answer(text=await ctx.ask("chief", Use()))
            case text:
                return Answer(text=text * question.depth, sources=(await ctx.tools.call(search, {"word": "it"}),))
        return Answer(text="")


ANALYST = WebAnalyst.as_tool()

Used = Callable[[Context], Awaitable[object]]
_use: list[Used] = []


class Chief(Agent):
    tools = [
        ANALYST,
        WebAnalyst.as_tool(name="reader", only=[search]),
        WebAnalyst.as_tool(name="quick", timeout_s=2, concurrency=1),
        WebAnalyst.as_tool(name="dear", approval=True),
        as_tool("chief", Use, name="itself"),
        as_tool("desk/nobody", Question, name="nobody"),
    ]

    @on
    async def use(self, request: Use, ctx: Context) -> str:
        return str(await _use[-1](ctx))


def asking(text: str, name: str = "web_analyst") -> Used:
    async def use(ctx: Context) -> object:
        return await ctx.tools.call(name, {"text": text})

    return use


async def done(use: Used, *, timeout_s: float = 600.0, origin: Origin | None = None) -> str:
    """What the chief makes of it. Raises what it raises to its asker."""
    _use.append(use)
    app = App("desk", Supervisor(children=[child(Chief, id="chief"), child(WebAnalyst, id="analyst")]))
    async with app.start(engine="inline") as running:
        chief = running.ref("desk/chief")
        if origin is not None:
            chief.runtime.origin = origin
        reply: str = await chief.ask(Use(), timeout_s=timeout_s)
        return reply


# ---- what a model is told ------------------------------------------------------------------------


def test_name_description_and_schema_come_from_class_and_request() -> None:
    assert ANALYST.name == "web_analyst"
    assert ANALYST.description == "Answers a question from what is known."
    assert ANALYST.schema == {
        "additionalProperties": False,
        "type": "object",
        "properties": {
            "text": {"type": "string", "description": "what is to be known"},
            "depth": {"type": "integer", "default": 1, "description": "how far to look"},
        },
        "required": ["text"],
    }


def test_of_an_agent_function_they_come_from_its_signature_and_docstring() -> None:
    @agent
    async def translate(text: str, language: str = "en") -> str:
        """Translates a text.

        Args:
            language: into which
        """
        return text

    made = translate.as_tool()

    assert (made.name, made.description) == ("translate", "Translates a text.")
    assert made.schema["properties"]["language"] == {"type": "string", "default": "en", "description": "into which"}
    assert made.schema["required"] == ["text"]


def test_a_request_without_a_docstring_is_described_by_its_handler_or_by_the_agent() -> None:
    class Librarian(Agent):
        """Knows the library."""

        @on
        async def look(self, look: Look) -> str:
            return ""

    class Clerk(Agent):
        @on
        async def look(self, look: Look) -> str:
            """Looks into the files."""
            return ""

    assert Librarian.as_tool().description == "Knows the library."
    assert Clerk.as_tool().description == "Looks into the files."
    assert Clerk.as_tool(description="Looks.").description == "Looks."


def test_of_an_agent_that_answers_several_requests_one_is_named() -> None:
    class Clerk(Agent):
        @on
        async def look(self, look: Look) -> str:
            """Looks."""
            return ""

        @on
        async def answer(self, question: Question) -> Answer:
            return Answer(text="")

    with pytest.raises(InvalidTool, match=r"answers Look and Question, .* name it: Clerk.as_tool\(Look\)"):
        Clerk.as_tool()

    assert (Clerk.as_tool(Look).name, Clerk.as_tool(Question).name) == ("clerk_look", "clerk_answer")


def mute() -> type[AnyAgent]:
    class Mute(Agent):
        @on
        async def look(self, look: Look) -> str:
            return ""

    return Mute


@pytest.mark.parametrize(
    ("define", "told"),
    [
        (lambda: mute().as_tool(), "mute has no description, .* docstring for Look or look or Mute, or give desc"),
        (lambda: mute().as_tool(Question), "Mute has no handler for Question; it answers Look"),
        (Agent.as_tool, "Agent answers no request, and a tool asks by one request"),
        (lambda: WebAnalyst.as_tool(name="a b"), "'a b' is no name for a tool"),
        (lambda: WebAnalyst.as_tool(key="user"), "key='user' is no field of Question, so nobody could say who"),
        (lambda: WebAnalyst.as_tool(timeout_s=0), "timeout_s=0"),
        (lambda: adopt(own_work).as_tool(), "own_work takes nothing, so it runs by itself and is not asked"),
    ],
)
def test_what_could_not_be_asked_is_refused_when_it_is_defined(define: Callable[[], object], told: str) -> None:
    with pytest.raises(InvalidTool, match=told):
        define()


async def own_work() -> None:
    """Works."""


def test_its_hash_stands_for_whom_it_asks_and_by_what() -> None:
    hashes = {each.hash for each in (*Chief.listed_tools.values(), as_tool("desk/another", Question, name="nobody"))}

    assert len(hashes) == len(Chief.tools) + 1
    assert WebAnalyst.as_tool().hash == ANALYST.hash


# ---- what a call is ------------------------------------------------------------------------------


@virtual
async def test_a_call_is_an_ask_and_its_result_the_reply() -> None:
    async def use(ctx: Context) -> object:
        reply = await ctx.tools.call(ANALYST, {"text": "why", "depth": 2})
        return reply.text, reply.sources

    assert await done(use) == "('whywhy', ('found it',))"
    assert seen[0].sender is not None
    assert seen[0].sender.id == "desk/chief"


@virtual
async def test_a_model_writes_the_request_as_json_and_is_told_the_reply_as_json() -> None:
    async def use(ctx: Context) -> object:
        given = await ctx.tools.answer(ToolCall(id="1", name="web_analyst", arguments='{"text": "why"}'))
        wrong = await ctx.tools.answer(ToolCall(id="2", name="web_analyst", arguments='{"texts": "why"}'))
        return f"{given.content} / {wrong.content}"

    told = await done(use)

    assert told.startswith('{"text":"why","sources":["found it"]} / web_analyst was not run, since its arguments')
    assert len(seen) == 1


@virtual
async def test_a_function_of_it_for_a_framework_takes_the_fields_of_the_request() -> None:
    async def use(ctx: Context) -> object:
        function = next(each for each in ctx.tools.functions() if each.__name__ == "web_analyst")
        return (await function(text="why", depth=3)).text

    assert await done(use) == "whywhywhy"


@virtual
async def test_adopted_code_and_agent_functions_are_tools_as_well() -> None:
    @agent
    async def shout(text: str) -> str:
        """Shouts."""
        return text.upper()

    async def whisper(text: str) -> str:
        """Whispers."""
        return text.lower()

    whispering = adopt(whisper)

    @agent(tools=[shout.as_tool(), whispering.as_tool()])
    async def chief(ctx: Context, text: str) -> str:
        """Does both."""
        return str([await ctx.tools.call(name, {"text": text}) for name in ("shout", "whisper")])

    children = [child(chief, id="chief"), child(shout, id="shout"), child(whispering, id="whisper")]
    async with App("desk", Supervisor(children=children)).start(engine="inline") as running:
        assert await running.ref("desk/chief").ask(chief.request("Hey")) == "['HEY', 'hey']"


# ---- what it has of its caller -------------------------------------------------------------------


@virtual
async def test_it_has_the_deadline_principal_chain_and_hops_of_its_caller() -> None:
    await done(asking("why"), timeout_s=7, origin=Origin(principal="ada"))

    assert deadlines == [7.0]
    assert origins[0].principal == "ada"
    assert origins[0].chain == ("desk/chief", "desk/analyst")
    assert origins[0].hops == 2


@virtual
async def test_it_may_run_no_more_tools_than_its_caller() -> None:
    async def use(ctx: Context) -> object:
        with ctx.tools.only("web_analyst", search):
            kept = (await ctx.tools.call(ANALYST, {"text": "why"})).sources
            with pytest.raises(ToolFailed, match="may not run delete on behalf of this message"):
                await ctx.tools.call(ANALYST, {"text": "delete"})
        return kept

    assert await done(use) == "('found it',)"


@virtual
async def test_a_limit_of_the_tool_is_for_its_calls_alone_and_only_narrows() -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(ToolFailed, match=r"ToolDenied: desk/analyst may not run delete .* allows search"):
            await ctx.tools.call("reader", {"text": "delete"})
        with ctx.tools.only("reader", delete), pytest.raises(ToolFailed, match="ToolDenied"):
            await ctx.tools.call("reader", {"text": "why"})
        return (await ctx.tools.call(ANALYST, {"text": "delete"})).text

    assert await done(use) == "deleted it"


@virtual
async def test_one_that_the_capability_does_not_list_as_a_tool_is_not_asked() -> None:
    with pytest.raises(ToolDenied, match="may not run web_analyst on behalf of this message"):
        await done(asking("why"), origin=Origin(capability=("*", "!search")))

    assert seen == []


@virtual
async def test_one_that_the_capability_does_not_reach_as_an_agent_is_not_asked() -> None:
    with pytest.raises(ToolDenied, match="capability of this message does not reach desk/analyst; do without"):
        await done(asking("why"), origin=Origin(capability=("desk/chief", "!*")))

    assert seen == []


@virtual
async def test_one_that_calls_itself_through_its_tools_is_found_at_once() -> None:
    began_s = asyncio.get_running_loop().time()

    with pytest.raises(ToolFailed, match=r"itself gave no answer \(CallingSelf: desk/chief"):
        await done(lambda ctx: ctx.tools.call("itself"))

    assert asyncio.get_running_loop().time() - began_s < 1


@virtual
async def test_a_ring_of_agents_that_call_each_other_is_found_at_once() -> None:
    async def use(ctx: Context) -> object:
        return await ctx.tools.call("itself") if seen else await ctx.tools.call(ANALYST, {"text": "back"})

    began_s = asyncio.get_running_loop().time()

    with pytest.raises(ToolError, match=r"web_analyst gave no answer .*AskCycle: .*desk/chief"):
        await done(use)

    assert asyncio.get_running_loop().time() - began_s < 1


# ---- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name", "told"),
    [
        ("crash", "web_analyst", r"web_analyst gave no answer \(AskFailed: desk/analyst#\d died .*it is too hard"),
        ("refuse", "web_analyst", r"web_analyst gave no answer \(Refused: not that one\)"),
        ("why", "nobody", r"nobody gave no answer \(AskFailed: desk/nobody does not exist"),
    ],
)
def test_an_agent_that_gives_no_answer_is_told_and_its_caller_lives(text: str, name: str, told: str) -> None:
    @virtual
    async def run() -> None:
        async def use(ctx: Context) -> object:
            with pytest.raises(ToolFailed, match=told) as failed:
                await ctx.tools.call(name, {"text": text})
            return failed.value.tool

        assert await done(use) == name

    run()


@virtual
async def test_one_that_takes_too_long_is_told_and_not_stopped() -> None:
    async def use(ctx: Context) -> object:
        with pytest.raises(
            ToolTimedOut, match=r"quick has not answered within 2 s \(timeout_s\); it was not stopped, and may"
        ):
            await ctx.tools.call("quick", {"text": "hang"})
        return ""

    await done(use)

    assert deadlines == [7.0], "what it was asked has a deadline of its own, behind that of the tool"


@virtual
async def test_the_callers_own_deadline_ends_the_call() -> None:
    told = list[str]()

    async def use(ctx: Context) -> object:
        with pytest.raises(ToolFailed, match=r"gave no answer .AskTimeout") as late:
            await ctx.tools.call(ANALYST, {"text": "hang"})
        told.append(str(late.value))
        return ""

    with pytest.raises(Exception, match="did not answer Use within 3 s"):
        await done(use, timeout_s=3)

    assert len(told) == 1


@virtual
async def test_one_that_needs_consent_is_denied_in_a_plain_agent_before_anybody_is_asked() -> None:
    with pytest.raises(NotApproved):
        await done(asking("why", name="dear"))

    assert seen == []


# ---- agents with keys ----------------------------------------------------------------------------


class Balance(BaseModel):
    cents: int = 0


class Pay(Request[int]):
    """Pays into an account."""

    account: str
    cents: int


class Account(DurableAgent[Balance]):
    @on
    async def pay(self, request: Pay) -> int:
        self.state = Balance(cents=self.state.cents + request.cents)
        return self.state.cents


@virtual
async def test_of_agents_with_keys_a_field_of_the_request_says_which_one_is_asked() -> None:
    from regrow import keyed

    listed: list[Tool[Any]] = [Account.as_tool(key="account")]

    @agent(tools=listed)
    async def teller(ctx: Context, account: str) -> int:
        """Pays a coin."""
        paid = await ctx.tools.call("account", {"account": account, "cents": 5})
        assert isinstance(paid, int)
        return paid

    children = [child(teller, id="teller"), keyed(Account)]
    async with App("desk", Supervisor(children=children), journal="memory").start(engine="inline") as running:
        paid = [await running.ref("desk/teller").ask(teller.request(who)) for who in ("ada", "bob", "ada")]

    assert paid == [5, 5, 10]


def test_a_ref_stands_for_its_agent() -> None:
    async def run() -> None:
        app = App("desk", Supervisor(children=[child(WebAnalyst, id="analyst")]))
        async with app.start(engine="inline") as running:
            made = as_tool(running.ref("desk/analyst"), Question)

            assert made.name == "analyst"
            assert made.asks is not None
            assert ActorId("desk/analyst") == running.ref("desk/analyst").address.actor

    virtual(run)()
