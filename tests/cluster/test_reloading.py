"""`regrow run --reload` on the inline engine: which change restarts whom, what stays, and what is told."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from regrow import ActorRef, Refused, Running
from regrow.cluster import reloading
from regrow.cluster.code import app_named
from regrow.cluster.config import Settings
from regrow.cluster.reloading import start_reloading
from regrow.cluster.sources import Sources
from regrow.runtime.testing import pass_time, run_virtual

WORDS = """\
from regrow import Message, Request


class Greet(Request[str]):
    name: str


class Add(Request[int]):
    number: int
"""

AGENTS = """\
import asyncio

from pydantic import BaseModel

from WORDS_MODULE import Add, Greet
from regrow import Agent, DurableAgent, DurableContext, on


class Greeter(Agent):
    @on
    async def greet(self, request: Greet) -> str:
        return f"hello {request.name}"


class Tally(BaseModel):
    sum: int = 0


class Sum(DurableAgent[Tally]):
    @on
    async def add(self, request: Add) -> int:
        self.state.sum += request.number
        return self.state.sum
"""

OTHER = """\
from WORDS_MODULE import Greet
from regrow import Agent, on


class Other(Agent):
    def __init__(self) -> None:
        self.greeted = 0

    @on
    async def greet(self, request: Greet) -> str:
        self.greeted += 1
        return f"number {self.greeted}"
"""

APP = """\
from AGENTS_MODULE import Greeter, Sum
from OTHER_MODULE import Other
from regrow import App, Supervisor, child

app = App(
    "shop",
    Supervisor(children=[child(Greeter, id="greeter"), child(Sum, id="sum"), child(Other, id="other")]),
    journal="memory",
)
"""

numbers = itertools.count(1)


@dataclass
class Project:
    """The files of one app, under names that no other test imports."""

    folder: Path
    number: int = field(default_factory=lambda: next(numbers))
    said: list[str] = field(default_factory=list)

    def module(self, name: str) -> str:
        return f"reloaded_{name}_{self.number}"

    def write(self, name: str, text: str) -> None:
        for other in ("words", "agents", "other"):
            text = text.replace(f"{other.upper()}_MODULE", self.module(other))
        (self.folder / f"{self.module(name)}.py").write_text(text, "utf-8")

    def words(self) -> Any:
        return sys.modules[self.module("words")]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Running]:
        target = f"{self.module('app')}:app"
        app = app_named(target)
        sources = Sources(target, self.folder)
        running = await start_reloading(app, "inline", Settings(), sources, self.said.append)
        try:
            yield running
        finally:
            await running.stop()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(reloading, "LOOK_S", 0.05)
    made = Project(tmp_path)
    for name, text in (("words", WORDS), ("agents", AGENTS), ("other", OTHER), ("app", APP)):
        made.write(name, text)
    yield made
    for name in [name for name in sys.modules if name.startswith("reloaded_")]:
        del sys.modules[name]


async def greeted(project: Project, ref: ActorRef) -> str:
    reply: str = await ref.ask(project.words().Greet(name="ada"))
    return reply


async def added(project: Project, running: Running, number: int) -> int:
    reply: int = await running.ref("sum").ask(project.words().Add(number=number))
    return reply


async def lives(running: Running) -> dict[str, int]:
    return {row.id: row.incarnation for row in await running.which_children()}


def test_a_changed_agent_is_restarted_with_its_durable_state_and_others_go_on(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            greeter, other = running.ref("greeter"), running.ref("other")
            assert await greeted(project, greeter) == "hello ada"
            assert await greeted(project, other) == "number 1"
            assert await added(project, running, 2) == 2
            before = await lives(running)

            project.write("agents", AGENTS.replace("hello", "good day,").replace("+= request", "+= 10 * request"))
            await pass_time(2.0)

            assert await greeted(project, greeter) == "good day, ada"
            assert await added(project, running, 3) == 32
            assert await greeted(project, other) == "number 2", "it goes on with what it knew"
            after = await lives(running)
            assert {id for id in after if after[id] != before[id]} == {"greeter", "sum"}

    run_virtual(main())
    assert project.said[1:] == ["new code: shop/greeter is running again, shop/sum is running again"]


def test_who_imports_what_has_changed_is_restarted_too(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            before = await lives(running)
            project.write("words", WORDS.replace("name: str", 'name: str\n    title: str = "Dr"'))
            await pass_time(2.0)

            after = await lives(running)
            assert all(after[id] != before[id] for id in after)
            assert await greeted(project, running.ref("greeter")) == "hello ada"
            assert project.words().Greet(name="ada").title == "Dr"

    run_virtual(main())


def test_what_has_changed_beside_a_file_that_is_broken_is_new_as_well_when_that_is_mended(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            project.write("other", OTHER.replace("number {", "no. {"))
            project.write("agents", AGENTS.replace("hello", "good day,") + "def broken(:\n")
            await pass_time(2.0)
            assert await greeted(project, running.ref("other")) == "number 1"

            project.write("agents", AGENTS.replace("hello", "good day,"))
            await pass_time(2.0)

            assert await greeted(project, running.ref("greeter")) == "good day, ada"
            assert await greeted(project, running.ref("other")) == "no. 1"

    run_virtual(main())


@pytest.mark.parametrize("harm", ["broken", "deleted", "no text"])
def test_changes_are_seen_while_a_file_is_broken_or_gone_and_when_it_is_back(project: Project, harm: str) -> None:
    other = project.folder / f"{project.module('other')}.py"

    async def main() -> None:
        async with project.running() as running:
            match harm:
                case "broken":
                    project.write("other", "def broken(:\n")
                case "deleted":
                    other.unlink()
                case _:
                    other.write_bytes(b"# \xff\n")
            await pass_time(2.0)
            project.write("agents", AGENTS.replace("hello", "good day,"))
            await pass_time(2.0)
            assert [told.endswith("the code before goes on") for told in project.said[1:]] == [True, True]

            project.write("other", OTHER)
            await pass_time(2.0)
            assert await greeted(project, running.ref("greeter")) == "good day, ada"

    run_virtual(main())


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ("def broken(:\n", "SyntaxError"),
        ("import no_such_thing\n", "needs 'no_such_thing', which is not installed"),
        ("raise ValueError('not today')\n", "ValueError: not today"),
        ("raise SystemExit(3)\n", "ends the program"),
    ],
)
def test_code_that_can_not_be_imported_is_told_in_one_sentence_and_the_old_goes_on(
    project: Project, broken: str, told: str
) -> None:
    async def main() -> None:
        async with project.running() as running:
            before = await lives(running)
            project.write("agents", AGENTS + broken)
            await pass_time(5.0)

            assert await greeted(project, running.ref("greeter")) == "hello ada"
            assert await lives(running) == before
            assert len(project.said) == 2, "once, and not at each look"
            assert told in project.said[1]
            assert project.said[1].endswith("the code before goes on")

            project.write("agents", AGENTS.replace("hello", "mended, hello"))
            await pass_time(2.0)
            assert await greeted(project, running.ref("greeter")) == "mended, hello ada"

    run_virtual(main())


def test_a_changed_tree_starts_anew_and_keeps_durable_state(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            await added(project, running, 2)
            project.write("app", APP.replace('child(Other, id="other")', 'child(Other, id="another")'))
            await pass_time(2.0)

            assert set(await lives(running)) == {"greeter", "sum", "another"}
            assert await added(project, running, 3) == 5
            assert await greeted(project, running.ref("another")) == "number 1"

    run_virtual(main())
    assert project.said[1:] == [
        "the children (shop/another, shop/other) changed, which needs a whole new start",
        "it runs, started anew",
    ]


def test_a_new_tree_that_does_not_start_leaves_the_old_one_running_anew(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            await added(project, running, 2)
            project.write("app", APP.replace(', journal="memory"', "").replace('\n    journal="memory",', ""))
            await pass_time(2.0)

            assert await added(project, running, 3) == 5

    run_virtual(main())
    assert project.said[1] == "the journal changed, which needs a whole new start"
    assert "this app keeps no journal" in project.said[2]
    assert project.said[3] == "the code before runs again, started anew"


def test_what_waits_in_a_mailbox_is_handled_by_the_new_code(project: Project) -> None:
    slow = AGENTS.replace('return f"hello', 'await asyncio.sleep(100)\n        return f"hello')
    project.write("agents", slow)

    async def main() -> None:
        async with project.running() as running:
            ref = running.ref("greeter")
            asking = [asyncio.create_task(greeted(project, ref)) for _ in range(3)]
            await pass_time(0.1)
            project.write("words", WORDS + "\n# changed\n")
            project.write("agents", AGENTS)
            results = await asyncio.gather(*asking, return_exceptions=True)

            assert results[1:] == ["hello ada", "hello ada"]
            assert isinstance(results[0], Exception), "its turn ended with the old code"

    run_virtual(main())


TOLD = """\
import asyncio

from regrow import Agent, App, Context, Message, Request, StreamRequest, Supervisor, child, on


class Wait(Request[str]):
    pass


class Token(Message):
    text: str


class Tell(StreamRequest[Token, tuple[Token, ...]]):
    pass


class Teller(Agent):
    @on
    async def wait(self, request: Wait) -> str:
        await asyncio.sleep(100)
        return "waited"

    @on
    async def tell(self, request: Tell, ctx: Context) -> tuple[Token, ...]:
        tokens = (Token(text="old"), Token(text="words"))
        for token in tokens:
            await ctx.emit(token)
        return tokens


app = App("shop", Supervisor(children=[child(Teller, id="teller")]))
"""


def test_a_stream_that_waits_in_a_mailbox_is_told_by_the_new_code_in_words_that_its_reader_knows(
    project: Project,
) -> None:
    project.write("app", TOLD)

    async def main() -> None:
        async with project.running() as running:
            code, ref = sys.modules[project.module("app")], running.ref("teller")
            waiting = asyncio.create_task(ref.ask(code.Wait()))
            await pass_time(0.1)

            async def read() -> tuple[list[Any], Any]:
                async with ref.stream(code.Tell()) as stream:
                    return [part async for part in stream], stream.reply

            reading = asyncio.create_task(read())
            await pass_time(0.1)
            project.write("app", TOLD.replace('"old"', '"new"'))
            parts, reply = await reading
            await asyncio.wait([waiting])

            assert parts == [code.Token(text="new"), code.Token(text="words")]
            assert reply == tuple(parts)
            assert {type(part) for part in (*parts, *reply)} == {code.Token}
            assert {row.restarts for row in await running.which_children()} <= {0, 1}, "nobody has crashed"
            assert waiting.exception() is not None, "its turn ended with the old code"

    run_virtual(main())


def test_what_waits_and_is_not_what_the_new_code_takes_is_refused_and_the_new_code_lives(project: Project) -> None:
    project.write("agents", AGENTS.replace('return f"hello', 'await asyncio.sleep(100)\n        return f"hello'))

    async def main() -> None:
        async with project.running() as running:
            ref = running.ref("greeter")
            asking = [asyncio.create_task(greeted(project, ref)) for _ in range(2)]
            await pass_time(0.1)
            project.write("words", WORDS.replace("name: str", "name: str\n    title: str"))
            project.write("agents", AGENTS)
            _, late = await asyncio.gather(*asking, return_exceptions=True)

            assert isinstance(late, Refused)
            assert "title: Field required" in str(late)
            assert await ref.ask(project.words().Greet(name="ada", title="Dr")) == "hello ada"

    run_virtual(main())


def test_a_file_that_no_agent_is_made_of_restarts_nobody(project: Project) -> None:
    async def main() -> None:
        async with project.running() as running:
            before = await lives(running)
            project.write("app", APP + "\n# a comment\n")
            await pass_time(2.0)
            assert await lives(running) == before

    run_virtual(main())
    assert project.said[1:] == ["new code, of which no agent that runs is made"]


MANY = """\
from AGENTS_MODULE import Greeter, Sum
from regrow import App, DynamicSupervisor, Supervisor, child, keyed

app = App(
    "shop",
    Supervisor(children=[child(DynamicSupervisor(child(Greeter)), id="greeters"), keyed(Sum, id="sums")]),
    journal="memory",
)
"""


def test_children_of_one_spec_and_agents_with_keys_take_new_code_too(project: Project) -> None:
    project.write("app", MANY)

    async def main() -> None:
        async with project.running() as running:
            greeter = await running.start_child("greeters")
            adding = running.ref("sums/ada")
            assert await adding.ask(project.words().Add(number=2)) == 2

            project.write("agents", AGENTS.replace("hello", "good day,").replace("+= request", "+= 10 * request"))
            await pass_time(2.0)

            assert await greeted(project, greeter) == "good day, ada"
            assert await adding.ask(project.words().Add(number=3)) == 32
            assert await running.ref("sums/bob").ask(project.words().Add(number=1)) == 10, "who starts later has it"

    run_virtual(main())


def test_a_stop_waits_for_a_change_that_has_begun(project: Project) -> None:
    head = "class Other(Agent):\n"
    start = "    async def started(self, ctx):\n        await asyncio.sleep(20)\n\n"
    slow = "import asyncio\n" + OTHER.replace(head, head + start)

    async def main() -> None:
        async with project.running() as running:
            project.write("other", slow)
            await pass_time(5.0)
            runtime = running.engine.runtime
        assert runtime.cells == {}

    run_virtual(main())
    assert project.said[1:] == ["new code: shop/other is running again"]
