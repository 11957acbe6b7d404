"""Agents that answer in parts: checked when they are defined, typed for whoever reads (SEMANTICS 4)."""

# pyright: reportUnusedClass=false
# The classes of these tests are refused before anybody could use them.

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from regrow.actors import Agent, Context, InvalidAgent, on
from regrow.runtime.message import Message, StreamRequest
from regrow.runtime.stream import Stream
from regrow.runtime.testing import virtual
from tests.runtime.scripted import Process


class Token(Message):
    text: str


class Answer(Message):
    tokens: int


class Tell(StreamRequest[Token, Answer]):
    words: tuple[str, ...]


class Teller(Agent):
    @on(concurrent=True)
    async def tell(self, request: Tell, ctx: Context) -> Answer:
        for word in request.words:
            await ctx.emit(Token(text=word))
        return Answer(tokens=len(request.words))


class Reader(Agent):
    @on
    async def read(self, request: Tell, ctx: Context) -> Answer:
        """Hands on what it reads while it reads it."""
        stream: Stream[Token, Answer] = ctx.stream("desk/teller", request)  # as both type checkers infer it
        async with stream:
            async for token in stream:
                await ctx.emit(Token(text=token.text.upper()))
        answer: Answer = stream.reply
        return answer


@virtual
async def test_an_agent_hands_on_the_parts_that_it_reads() -> None:
    process = Process()
    await process.start("desk/teller", lambda: Teller.made(None))
    ref = await process.start("desk/reader", lambda: Reader.made(None))

    async with ref.stream(Tell(words=("one", "two"))) as stream:
        words = [token.text async for token in stream]

    assert words == ["ONE", "TWO"]
    assert stream.reply.tokens == 2


@virtual
async def test_turns_of_a_concurrent_handler_stream_side_by_side_and_only_the_one_that_is_left_ends() -> None:
    process = Process()
    ref = await process.start("desk/teller", lambda: Teller.made(None))
    many = tuple(str(n) for n in range(5_000))

    async with ref.stream(Tell(words=many)) as kept:
        async with ref.stream(Tell(words=many)) as left:
            assert (await anext(kept)).text == (await anext(left)).text == "0"
        await asyncio.sleep(0)
        assert len([token async for token in kept]) == 4_999


def test_a_handler_of_a_stream_must_return_its_reply() -> None:
    with pytest.raises(InvalidAgent, match="but Tell expects Answer"):

        class _Wrong(Agent):
            @on
            async def tell(self, request: Tell, ctx: Context) -> Token:
                return Token(text="")


def test_a_handler_that_yields_is_told_how_to_stream() -> None:
    with pytest.raises(InvalidAgent, match=r"handle a StreamRequest and `await ctx\.emit\(part\)`"):

        class _Wrong(Agent):
            @on
            async def tell(self, request: Tell, ctx: Context) -> AsyncIterator[Token]:
                yield Token(text="")


def test_a_handler_of_a_stream_in_a_thread_is_refused() -> None:
    with pytest.raises(InvalidAgent, match="which a thread can not emit; make it `async def`"):

        class _Wrong(Agent):
            @on
            def tell(self, request: Tell) -> Answer:
                return Answer(tokens=0)


def test_parts_of_a_type_that_can_not_travel_are_refused_when_the_agent_is_defined() -> None:
    class Odd(StreamRequest[asyncio.Event, str]):
        pass

    with pytest.raises(InvalidAgent, match="no part of Odd can be of the type that it names"):

        class _Wrong(Agent):
            @on
            async def tell(self, request: Odd, ctx: Context) -> str:
                return ""
