"""What an agent starts with, and the hooks around its messages."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.actors.errors import InvalidConfig
from regrow.runtime.errors import AskFailed
from regrow.runtime.lifecycle import Down, ExitReason
from regrow.runtime.message import Message, Request
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import Process, Scripted, settle
from tests.simulation.wires import NOTICED_S, Node, World


class Question(Request[str]):
    """Expects a text."""

    text: str = ""


class Note(Message):
    """Expects nothing."""


class Clerk(Agent):
    """Declares no config."""


# ---- config --------------------------------------------------------------------------------------


class Careless(Agent):
    """Leaves the program in a handler that runs in a thread, or exhausts an iterator there."""

    @on
    def answer(self, question: Question) -> str:
        if question.text == "exit":
            sys.exit(4)
        return next(iter(()))


@pytest.mark.parametrize(("text", "told"), [("exit", "SystemExit"), ("next", "StopIteration")])
def test_a_handler_in_a_thread_that_leaves_or_runs_dry_is_a_crash(text: str, told: str) -> None:
    @virtual
    async def scene() -> None:
        careless = await Process().start("careless", lambda: Careless.made(None))

        with pytest.raises(AskFailed, match="died handling Question") as failed:
            await careless.ask(Question(text=text))

        assert told in failed.value.traceback

    scene()


class Desk(Message):
    """What a keeper is told before it starts."""

    city: str = "Bern"


class Keeper(Agent):
    """Reads its config in `__init__`."""

    config: Desk

    def __init__(self) -> None:
        self.city = self.config.city

    @on
    async def answer(self, question: Question) -> str:
        return self.city


@virtual
async def test_config_can_be_read_in_init() -> None:
    keeper = await Process().start("keeper", lambda: Keeper.made(Desk(city="Basel")))

    assert await keeper.ask(Question()) == "Basel"


@pytest.mark.parametrize("config", [None, "Basel", Keeper])
def test_a_config_of_another_type_than_declared_is_refused_with_the_mend(config: object) -> None:
    with pytest.raises(InvalidConfig) as failure:
        Keeper.made(config)

    assert str(failure.value) == (
        f"Keeper declares config: Desk, and got {config!r}; give child(Keeper, config=Desk(…))"
    )


@pytest.mark.parametrize("config", [None, 7, Desk()])
def test_an_agent_that_declares_no_config_takes_any(config: object) -> None:
    assert Clerk.made(config).config is config


def test_an_annotation_that_only_type_checkers_can_read_is_no_reason_not_to_start() -> None:
    class Typed(Agent):
        helper: NotThere  # type: ignore[name-defined] # noqa: F821 # as if imported under TYPE_CHECKING

    assert isinstance(Typed.made(None), Typed)


def test_a_subclass_keeps_the_declared_config_of_its_base() -> None:
    class Night(Keeper):
        pass

    with pytest.raises(InvalidConfig, match=r"^Night declares config: Desk, and got None"):
        Night.made(None)


# ---- hooks ---------------------------------------------------------------------------------------


@virtual
async def test_hooks_are_called_once_around_all_messages() -> None:
    log: list[Any] = []

    class Logged(Agent):
        async def started(self, ctx: Context) -> None:
            log.append(("started", ctx.id))

        async def stopping(self, reason: ExitReason, ctx: Context) -> None:
            log.append(("stopping", ctx.id))

        @on
        async def answer(self, question: Question, ctx: Context) -> str:
            log.append(question.text)
            return ""

        @on
        async def end(self, note: Note, ctx: Context) -> None:
            ctx.stop()

    process = Process()
    logged = await process.start("logged", Logged)
    await logged.ask(Question(text="one"))
    await logged.ask(Question(text="two"))
    await logged.tell(Note())
    await settle()

    assert log == [("started", "logged"), "one", "two", ("stopping", "logged")]


@virtual
async def test_an_exception_in_started_is_a_failed_start() -> None:
    class Broken(Agent):
        async def started(self, ctx: Context) -> None:
            raise LookupError("no desk")

    failed = await Process().try_start("broken", Broken)

    assert failed is not None
    assert "LookupError: no desk" in failed.traceback


# ---- news of others ------------------------------------------------------------------------------


class Watcher(Agent):
    """Watches another, and cares for its end alone."""

    def __init__(self) -> None:
        self.ends: list[str] = []

    @on
    async def watch(self, question: Question, ctx: Context) -> str:
        ctx.monitor(question.text)
        return ""

    @on
    async def down(self, down: Down) -> None:
        self.ends.append(down.actor)


class Heedless(Agent):
    """Watches another, and has no handler for what it hears."""

    @on
    async def watch(self, question: Question, ctx: Context) -> str:
        ctx.monitor(question.text)
        return ""


async def lose_find_and_end(world: World, watcher: Agent) -> Node:
    """Where the watcher of an agent is that was out of contact for a while, and then ended."""
    await world.with_guardian()
    here, there = world.node("here"), world.node("there")
    await world.start(there, "desk/clerk", Scripted)
    await world.start(here, "desk/watcher", lambda: watcher)
    await here.ref("desk/watcher").ask(Question(text="desk/clerk"))
    await pass_time(0.1)
    world.freeze("there")
    await pass_time(NOTICED_S + 0.1)
    world.thaw("there")
    await pass_time(1.0)
    there.cell("desk/clerk").kill("by hand")
    await pass_time(1.0)
    return here


@virtual
async def test_word_of_lost_contact_is_passed_over_where_no_handler_wants_it() -> None:
    watcher = Watcher()

    here = await lose_find_and_end(World(), watcher)

    assert watcher.ends == ["desk/clerk"]
    assert here.reasons() == {}


@virtual
async def test_a_down_that_no_handler_wants_is_a_dead_letter() -> None:
    here = await lose_find_and_end(World(), Heedless())

    assert here.reasons() == {"refused": 1}
