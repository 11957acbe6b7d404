"""Handlers that could not work are refused when their class is defined, with the mend in the text."""

# pyright: reportUnusedClass=false
# The classes of these tests are refused before anybody could use them.

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from regrow.actors.agent import Agent, on
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent
from regrow.runtime.context import CellContext, Stashed
from regrow.runtime.errors import InvalidDefinition
from regrow.runtime.message import Message, Request
from regrow.runtime.reply_slot import ReplySlot
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractContextManager


class Question(Request[str]):
    """Expects a text."""


class Count(Request[int]):
    """Expects a number."""


class Note(Message):
    """Expects nothing."""


class Paid(Message):
    """Expects nothing either."""


def refused(text: str) -> AbstractContextManager[Any]:
    return pytest.raises(InvalidAgent, match=f"^{re.escape(text)}$")


# ---- the message ---------------------------------------------------------------------------------


def test_a_message_without_annotation_is_refused_with_an_example() -> None:
    with refused("Clerk.answer: annotate 'question' with the message it handles, such as question: Question"):

        class Clerk(Agent):
            @on
            async def answer(self, question) -> str:  # type: ignore[no-untyped-def]
                return "yes"


@pytest.mark.parametrize(("annotation", "text"), [(str, "str"), (Question | int, None), (Any, "Any"), (dict, "dict")])
def test_a_parameter_that_is_no_message_is_refused(annotation: Any, text: str | None) -> None:
    async def answer(self: Any, question: Any) -> str:
        return "yes"

    answer.__annotations__["question"] = annotation
    declared = text if text is not None else str(annotation)

    with refused(f"Clerk.answer: 'question' is {declared}; a handler takes a Message or Request class"):
        type("Clerk", (Agent,), {"answer": on(answer)})


def test_a_message_that_is_not_known_yet_is_refused_and_named() -> None:
    with pytest.raises(InvalidAgent, match=r"Clerk\.answer: .*'Later'.*; define it above the agent"):

        class Clerk(Agent):
            @on
            async def answer(self, question: Later) -> str:  # type: ignore[name-defined] # noqa: F821
                return "yes"


def test_two_handlers_for_one_message_are_refused_and_both_are_named() -> None:
    with refused("Clerk has two handlers for Note: file and burn; keep one of them"):

        class Clerk(Agent):
            @on
            async def file(self, note: Note) -> None: ...

            @on
            async def burn(self, note: Note | Paid) -> None: ...


def test_a_message_may_be_defined_in_the_function_that_defines_the_agent() -> None:
    class Local(Message):
        pass

    class Clerk(Agent):
        @on
        async def file(self, note: Local) -> None: ...

    assert set(Clerk.handlers) == {Local}


# ---- the other parameters ------------------------------------------------------------------------


def test_a_second_parameter_that_is_no_context_is_refused() -> None:
    with refused("Clerk.answer: its second parameter 'number' gets the Context; annotate it so"):

        class Clerk(Agent):
            @on
            async def answer(self, question: Question, number: int) -> str:
                return "yes"


@pytest.mark.parametrize("annotation", [Context, CellContext])
def test_the_second_parameter_may_be_any_context(annotation: type) -> None:
    async def answer(self: Any, question: Question, ctx: Any) -> str:
        return "yes"

    answer.__annotations__["ctx"] = annotation
    clerk: type[Agent] = type("Clerk", (Agent,), {"answer": on(answer)})

    assert clerk.handlers[Question].takes_context


def test_a_second_parameter_without_annotation_is_the_context() -> None:
    class Clerk(Agent):
        @on
        async def answer(self, question: Question, ctx) -> str:  # type: ignore[no-untyped-def]
            return "yes"

    assert Clerk.handlers[Question].takes_context


async def _three(self: Any, question: Question, ctx: Context, more: int) -> str:
    return "yes"


async def _none(self: Any) -> str:
    return "yes"


async def _star(self: Any, *question: Question) -> str:
    return "yes"


async def _keyword(self: Any, question: Question, *, ctx: Context) -> str:
    return "yes"


async def _double_star(self: Any, question: Question, **more: int) -> str:
    return "yes"


@pytest.mark.parametrize("function", [_three, _none, _star, _keyword, _double_star])
def test_other_than_a_message_and_a_context_is_refused(function: Any) -> None:
    with refused(f"Clerk.{function.__name__} must take (self, message) or (self, message, ctx), and nothing else"):
        type("Clerk", (Agent,), {function.__name__: on(function)})


# ---- the return ----------------------------------------------------------------------------------


def test_a_return_that_is_not_the_reply_is_refused_and_both_are_named() -> None:
    with refused("Clerk.count returns str, but Count expects int; change one of them"):

        class Clerk(Agent):
            @on
            async def count(self, count: Count) -> str:
                return "seven"


def test_a_handler_of_a_request_without_return_annotation_is_refused() -> None:
    with refused("Clerk.answer: annotate its return; Question expects -> str"):

        class Clerk(Agent):
            @on
            async def answer(self, question: Question):  # type: ignore[no-untyped-def]
                return "yes"


def test_a_handler_that_answers_a_message_without_reply_is_refused() -> None:
    with refused(
        "Clerk.file returns int, but Note is a Message and expects no reply; "
        "derive it from Request[int], or return None"
    ):

        class Clerk(Agent):
            @on
            async def file(self, note: Note) -> int:
                return 7


def test_a_handler_of_a_message_needs_no_return_annotation() -> None:
    class Clerk(Agent):
        @on
        async def file(self, note: Note):  # type: ignore[no-untyped-def]
            pass

    assert set(Clerk.handlers) == {Note}


def test_every_request_of_a_union_must_expect_what_the_handler_returns() -> None:
    with refused("Clerk.answer returns str, but Count expects int; change one of them"):

        class Clerk(Agent):
            @on
            async def answer(self, question: Question | Count) -> str:
                return "yes"


def test_a_handler_may_return_a_subclass_of_the_reply() -> None:
    class Clerk(Agent):
        @on
        async def count(self, count: Count) -> bool:
            return True

    assert set(Clerk.handlers) == {Count}


def test_a_wrong_agent_is_a_wrong_definition_like_any_other() -> None:
    assert issubclass(InvalidAgent, InvalidDefinition)


# ---- deferred replies ----------------------------------------------------------------------------


def test_a_handler_may_give_its_reply_slot_in_place_of_the_reply() -> None:
    class Clerk(Agent):
        @on
        async def answer(self, question: Question, ctx: Context) -> ReplySlot[str]:
            return ctx.defer_reply(question)

        @on
        async def count(self, count: Count, ctx: Context) -> int | ReplySlot[int]:
            return 3

    assert set(Clerk.handlers) == {Question, Count}


def test_a_reply_slot_of_another_type_is_refused() -> None:
    with refused(
        "Clerk.answer returns regrow.runtime.reply_slot.ReplySlot[int], but Question expects str; change one of them"
    ):

        class Clerk(Agent):
            @on
            async def answer(self, question: Question, ctx: Context) -> ReplySlot[int]:
                raise NotImplementedError


# ---- messages set aside --------------------------------------------------------------------------


class Open(Message):
    """From now on questions are answered."""


class Door(Agent):
    """Sets everything aside until it is opened."""

    def __init__(self) -> None:
        self.is_open = False

    @on
    async def open_door(self, message: Open, ctx: Context) -> None:
        self.is_open = True
        ctx.unstash_all()

    @on
    async def answer(self, question: Question, ctx: Context) -> str | Stashed:
        return "yes" if self.is_open else ctx.stash()

    @on
    async def count(self, count: Count, ctx: Context) -> ReplySlot[int] | int | Stashed:
        return 3 if self.is_open else ctx.stash()

    @on
    async def note(self, note: Note, ctx: Context) -> Stashed | None:
        return None if self.is_open else ctx.stash()


@virtual
async def test_a_request_that_its_handler_set_aside_is_answered_when_it_comes_back() -> None:
    process = Process()
    door = await process.start("desk/door", lambda: Door.made(None))
    asking = asyncio.gather(door.ask(Question()), door.ask(Count()))
    await settle()
    await door.tell(Note())
    await settle()
    assert len(process.cell("desk/door").mailbox.stashed) == 3

    await door.tell(Open())

    assert await asking == ["yes", 3]
    await settle()
    assert (process.dead, len(process.cell("desk/door").mailbox)) == ({}, 0)


def test_a_reply_of_another_type_is_refused_beside_what_is_set_aside_too() -> None:
    with refused(
        "Clerk.answer returns int | regrow.runtime.context.Stashed, but Question expects str; change one of them"
    ):

        class Clerk(Agent):
            @on
            async def answer(self, question: Question, ctx: Context) -> int | Stashed:
                raise NotImplementedError

    with refused(
        "Other.note returns str | regrow.runtime.context.Stashed, but Note is a Message and expects no reply; "
        "derive it from Request[str], or return None"
    ):

        class Other(Agent):
            @on
            async def note(self, note: Note, ctx: Context) -> str | Stashed:
                raise NotImplementedError


# ---- what would never run, or never be answered --------------------------------------------------


class Unchecked:
    """What nobody can check a reply against."""


class Asked(Request[Unchecked]):
    """Expects one of those."""


def test_a_reply_that_could_not_be_checked_is_refused_with_its_type() -> None:
    with refused(
        "Clerk.answer: Asked expects Unchecked, and no reply can be of that type; "
        "make it a Message, a frozen dataclass, or a type such as str or tuple[int, ...]"
    ):

        class Clerk(Agent):
            @on
            async def answer(self, asked: Asked) -> Unchecked:
                return Unchecked()


class Summary(Message):
    """A reply with a part that is defined below."""

    part: Part | None = None


class AskedSummary(Request[Summary]):
    """Expects that one."""


def test_a_reply_whose_parts_are_not_defined_yet_is_no_mistake() -> None:
    class Clerk(Agent):
        @on
        async def answer(self, asked: AskedSummary) -> Summary:
            return Summary()

    assert AskedSummary in Clerk.handlers


class Part(Message):
    """What `Summary` names."""


@pytest.mark.parametrize("is_async", [True, False])
def test_a_handler_that_yields_is_refused(is_async: bool) -> None:
    async def parts(self: Any, question: Question) -> AsyncIterator[str]:
        yield "yes"

    def plain_parts(self: Any, question: Question) -> Iterator[str]:
        yield "yes"

    handler = parts if is_async else plain_parts
    with pytest.raises(InvalidAgent, match="yields, and what a handler gives is one reply; return a tuple"):
        type("Clerk", (Agent,), {"answer": on(handler)})


@pytest.mark.parametrize("kind", [classmethod, staticmethod])
@pytest.mark.parametrize("outside", [True, False])
def test_a_handler_that_is_not_called_on_its_agent_is_refused(kind: Any, outside: bool) -> None:
    async def answer(question: Question, ctx: Context) -> str:
        return "yes"

    with pytest.raises(InvalidAgent, match=rf"Clerk.answer is a {kind.__name__}, .* take the @{kind.__name__} away"):
        type("Clerk", (Agent,), {"answer": kind(on(answer)) if outside else on(kind(answer))})
