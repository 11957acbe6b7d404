"""Adopted code: how what knows nothing of Regrow is asked, and what can not be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterator
from functools import partial
from typing import Any

import pytest

from regrow.actors import FunctionAgent, Prompt, adopt, agent
from regrow.actors.adopted_call import PARTS_LIMIT
from regrow.actors.context import Context
from regrow.actors.errors import InvalidAgent, TooManyParts, Unhandled
from regrow.runtime.errors import AskFailed, InvalidMessage, Misuse
from regrow.runtime.message import reply_type
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process


async def started(function: FunctionAgent[..., Any]) -> Any:
    return await Process().start("desk/it", lambda: function.agent_class.made(None))


# ---- by its signature ----------------------------------------------------------------------------


async def greet(name: str, greeting: str = "Hello") -> str:
    """Greets someone."""
    return f"{greeting}, {name}"


def thread_of(name: str) -> int:
    return threading.get_ident()


async def led_by(ctx: Context, name: str) -> str:
    return f"{ctx.id} {name}"


async def letters(word: str) -> AsyncIterator[str]:
    for letter in word:
        yield letter


@virtual
async def test_a_function_with_types_is_asked_by_its_signature() -> None:
    greeter = adopt(greet)
    ref = await started(greeter)

    assert await ref.ask(greeter.request("Ada", greeting="Hi")) == "Hi, Ada"


@virtual
async def test_a_plain_function_runs_in_another_thread() -> None:
    adopted = adopt(thread_of)
    ref = await started(adopted)

    assert await ref.ask(adopted.request("Ada")) != threading.get_ident()


@virtual
async def test_a_parameter_annotated_context_gets_it() -> None:
    adopted = adopt(led_by)
    ref = await started(adopted)

    assert await ref.ask(adopted.request("Ada")) == "desk/it Ada"


@virtual
async def test_the_parts_of_an_async_iterator_are_one_reply() -> None:
    adopted = adopt(letters)
    ref = await started(adopted)

    assert reply_type(adopted.request_class) == tuple[str, ...]
    assert await ref.ask(adopted.request("word")) == ("w", "o", "r", "d")


@virtual
async def test_an_iterator_of_more_parts_than_a_reply_holds_is_refused_and_closed() -> None:
    closed = list[int]()

    async def endless(start: int) -> AsyncIterator[int]:
        try:
            while True:
                yield start
        finally:
            closed.append(start)

    adopted = adopt(endless)
    ref = await started(adopted)

    with pytest.raises(TooManyParts, match="more than 10,000 parts"):
        await ref.ask(adopted.request(7))

    assert closed == [7]
    assert PARTS_LIMIT == 10_000


@virtual
async def test_an_iterator_that_is_read_may_give_as_many_parts_as_a_reply_has_room_for() -> None:
    async def counted(limit: int, text: str) -> AsyncIterator[str]:
        for _ in range(limit):
            yield text

    adopted = adopt(counted)
    ref = await started(adopted)

    async with ref.stream(adopted.request(12_000, "a")) as stream:
        assert len([part async for part in stream]) == 12_000
    assert stream.reply == ("a",) * 12_000

    async with ref.stream(adopted.request(100, "a" * 1_000_000)) as stream:
        with pytest.raises(TooManyParts, match="more than 16,777,216 bytes together"):
            assert [len(part) async for part in stream]


def test_two_children_of_one_function_share_its_request() -> None:
    assert adopt(greet) is adopt(greet)


async def test_called_adopted_code_is_still_that_code() -> None:
    assert await adopt(greet)("Ada", greeting="Hi") == "Hi, Ada"


@virtual
async def test_a_reply_of_another_type_than_declared_ends_the_agent_by_name() -> None:
    async def lie(name: str) -> str:
        return 7  # type: ignore[return-value]

    adopted = adopt(lie)
    ref = await started(adopted)

    with pytest.raises(AskFailed, match=r"InvalidMessage: the reply to lie\.Request must be str, not int"):
        await ref.ask(adopted.request("Ada"))


# ---- by a text -----------------------------------------------------------------------------------


class Result:
    """What frameworks give: an object with the text inside."""

    def __init__(self, output: str) -> None:
        self.output = output


class Framework:
    """An object with a method that takes a text, and more that may be left out."""

    async def run(self, prompt: str | None = None, *, retries: int = 0, **more: Any) -> Result:
        return Result(f"{prompt}!")

    async def tokens(self, prompt: str) -> AsyncIterator[str]:
        for word in (prompt, " ", "done"):
            yield word

    def run_sync(self, prompt: str) -> str:
        return f"{prompt} {threading.get_ident() != MAIN}"

    def later(self, prompt: str) -> Awaitable[Result]:
        return self.run(prompt)

    async def __call__(self, prompt: str) -> str:
        return f"called with {prompt}"

    async def of_two(self, prompt: str, model: str) -> str:
        return f"{model} {prompt}"


MAIN = threading.get_ident()
FRAMEWORK = Framework()


def output(result: Result) -> str:
    return result.output


TEXTS: dict[str, tuple[Any, str]] = {
    "method with reply": (adopt(FRAMEWORK.run, reply=output), "why!"),
    "iterator of texts": (adopt(FRAMEWORK.tokens), "why done"),
    "plain method": (adopt(FRAMEWORK.run_sync), "why True"),
    "plain method that gives an awaitable": (adopt(FRAMEWORK.later, reply=output), "why!"),
    "object": (adopt(FRAMEWORK), "called with why"),
    "partial": (adopt(partial(FRAMEWORK.of_two, model="small")), "small why"),
    "function without types": (adopt(lambda text: f"{text}?"), "why?"),
    "builtin": (adopt(ascii), "'why'"),
}


@pytest.mark.parametrize("form", TEXTS)
def test_what_takes_a_text_is_asked_by_a_prompt(form: str) -> None:
    adopted, expected = TEXTS[form]

    @virtual
    async def scene() -> None:
        ref = await started(adopted)

        assert await ref.ask(Prompt(text="why")) == expected
        assert adopted.request("why") == Prompt(text="why")

    scene()


@virtual
async def test_what_gives_no_text_ends_the_agent_with_the_mend() -> None:
    ref = await started(adopt(FRAMEWORK.run))

    with pytest.raises(
        AskFailed, match=r"run gave Result where a text was wanted; .* adopt\(run, reply=lambda given: …"
    ):
        await ref.ask(Prompt(text="why"))


# ---- its own work --------------------------------------------------------------------------------


async def nothing() -> None:
    """Ends at once."""


@virtual
async def test_work_is_asked_nothing() -> None:
    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    adopted = adopt(for_ever)
    ref = await started(adopted)

    with pytest.raises(Unhandled):
        await ref.ask(Prompt(text="why"))
    with pytest.raises(Misuse, match="for_ever takes nothing, so it runs by itself and is not asked"):
        adopted.request()


# ---- definitions ---------------------------------------------------------------------------------


def in_steps(word: str) -> Iterator[str]:
    yield word


async def ticks() -> AsyncIterator[int]:
    yield 1


@agent
async def of_ours(name: str) -> str:
    return name


async def of_anything(**settings: Any) -> str:
    return str(settings)


async def of_settings(*, limit: int = 3) -> int:
    return limit


WRONG: dict[str, tuple[Any, dict[str, Any], str]] = {
    "an agent": (of_ours, {}, "of_ours is an agent already"),
    "a class": (Framework, {}, r"can not be adopted; give a function, or a method of an object such as agent\.run"),
    "an iterator": (letters("word"), {}, "of an async iterator give the function that makes it"),
    "a plain generator": (in_steps, {}, "in_steps yields in a plain `def`; write it as `async def`"),
    "parts for nobody": (ticks, {}, "ticks takes nothing, so it is the agent's own work and nobody gets"),
    "a reply for nobody": (nothing, {"reply": str}, "nothing takes nothing, so it is the agent's own work"),
    "anything": (
        of_anything,
        {},
        r"of_anything takes \(\*\*settings\), .*can not be seen whether it is asked or runs by",
    ),
    "settings": (of_settings, {}, r"of_settings takes \(limit=3\).*write around it async def work\(\) -> None"),
    "types and a reply": (greet, {"reply": str}, "greet has types, and its reply is what it returns"),
    "two parameters": (
        FRAMEWORK.of_two,
        {},
        r"of_two can not be called with one text \(missing .*'model'\); write a func",
    ),
}


@pytest.mark.parametrize("form", WRONG)
def test_what_can_not_be_asked_is_refused_with_the_mend(form: str) -> None:
    call, more, told = WRONG[form]

    with pytest.raises(InvalidAgent, match=told):
        adopt(call, **more)


def test_a_function_of_which_only_some_parameters_have_types_is_refused() -> None:
    async def ask(question: str, limit) -> str:  # type: ignore[no-untyped-def]
        return question

    with pytest.raises(InvalidAgent, match="ask: annotate 'limit', since the message is made from it"):
        adopt(ask)


def test_a_parameter_that_could_be_changed_after_sending_is_refused() -> None:
    async def ask(words: list[str]) -> str:
        return ""

    with pytest.raises(InvalidMessage, match=r"words is declared list\[str\]"):
        adopt(ask)
