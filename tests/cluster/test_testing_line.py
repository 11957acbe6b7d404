"""The line between a test and the hosts of its app: what crosses it, and what happens when one end is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from regrow import Message, Work
from regrow.cluster.errors import ScriptBroke
from regrow.cluster.testing_line import HOST, LENGTH_BYTES, Cue, HostLine, Prompter, TurnBegins
from regrow.cluster.testing_playbook import Playbook, SeenTurn
from regrow.cluster.testing_script import ScriptedModel, ScriptItem
from regrow.router import ProviderUnreachable, RateLimited
from regrow.router.catalog import extractive_card
from regrow.router.request import ModelRequest, Tier
from regrow.runtime import ActorId, Incarnation
from regrow.runtime.packing import Opaque, pack, unpack

CARD = extractive_card(Tier.LARGE)
TURN_S = 30.0


class Note(Message):
    number: int


def turn(number: int) -> SeenTurn:
    return SeenTurn(agent=ActorId("desk/clerk"), incarnation=Incarnation(3), message=Note(number=number))


def asked(prompt: str) -> ModelRequest:
    return ModelRequest(work=Work.REASON, prompt=prompt, agent="desk/clerk")


@asynccontextmanager
async def line(answers: Sequence[ScriptItem] | None = None) -> AsyncIterator[tuple[Playbook, Prompter, HostLine]]:
    playbook = Playbook()
    prompter = Prompter(playbook, ScriptedModel(answers) if answers is not None else None)
    host = HostLine(await prompter.listen())
    try:
        yield playbook, prompter, host
    finally:
        await prompter.aclose()
        await host.aclose_line()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(TURN_S):
        while not is_so():  # noqa: ASYNC110 # it comes over a socket, and nothing here is told of it
            await asyncio.sleep(0)


async def test_a_line_carries_turns_crashes_and_what_the_script_says() -> None:
    async with line(["yes", lambda request: request.prompt.upper()]) as (playbook, _, host):
        playbook.crash_on(Note, times=1, agent=None)

        _, crash = await host.begins(turn(1))
        number, none = await host.begins(turn(2))

        assert "crash_on(Note)" in crash
        assert none == ""
        assert list(playbook.running) == [turn(2)]
        host.ended(number)
        await until(lambda: not playbook.running)
        assert [each.message for each in playbook.seen(ActorId("desk/clerk"))] == [Note(number=1), Note(number=2)]
        assert host.has_script
        assert (await host.complete(asked("?"), CARD)).text == "yes"
        assert (await host.complete(asked("shout"), CARD)).text == "SHOUT"


async def test_a_script_is_streamed_word_by_word_across_the_line() -> None:
    pieces: list[str] = []

    async def emit(piece: str) -> None:
        pieces.append(piece)

    async with line(["one two three"]) as (_, _, host):
        reply = await host.stream(asked("?"), CARD, emit)

    assert pieces == ["one ", "two ", "three"]
    assert reply.text == "one two three"


async def test_failures_of_a_script_arrive_as_what_they_are() -> None:
    def mistaken(request: ModelRequest) -> str:
        raise KeyError("of the test")

    async with line([RateLimited("too many calls", retry_after_s=3.0), mistaken]) as (_, _, host):
        with pytest.raises(RateLimited, match="too many calls") as limited:
            await host.complete(asked("?"), CARD)
        with pytest.raises(ScriptBroke, match="KeyError: 'of the test'"):
            await host.complete(asked("?"), CARD)

    assert limited.value.retry_after_s == 3.0


async def test_many_requests_are_under_way_at_once() -> None:
    async with line(["yes"] * 50) as (_, _, host):
        replies = await asyncio.gather(*(host.complete(asked(str(number)), CARD) for number in range(50)))

    assert {reply.text for reply in replies} == {"yes"}


async def test_turns_of_a_host_that_died_are_over() -> None:
    async with line() as (playbook, _, host):
        await host.begins(turn(1))

        await host.aclose_line()

        await until(lambda: not playbook.running)


async def test_when_the_test_has_gone_turns_go_on_and_models_are_not_reached() -> None:
    async with line(["yes"]) as (_, prompter, host):
        await host.begins(turn(1))
        await prompter.aclose()

        assert await host.begins(turn(2)) == (0, "")
        with pytest.raises(ProviderUnreachable, match="has it ended"):
            await host.complete(asked("?"), CARD)

    late = HostLine("1 word script")
    assert await late.begins(turn(3)) == (0, "")


async def test_a_message_of_a_class_that_the_test_has_not_imported_is_no_fault() -> None:
    playbook = Playbook()
    prompter = Prompter(playbook, None)
    port, word, _ = (await prompter.listen()).split()
    foreign = Opaque(packed=pack(Note(number=1)).replace(b"Note", b"Nope"))
    begins = pack(TurnBegins(call=1, agent="desk/clerk", incarnation=1, message=foreign))
    reader, writer = await asyncio.open_connection(HOST, int(port))
    writer.write(word.encode() + len(begins).to_bytes(LENGTH_BYTES, "big") + begins)

    async with asyncio.timeout(TURN_S):
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        cue = unpack(await reader.readexactly(length))

    assert cue == Cue(call=1, number=1, crash="")
    assert [str(turn) for turn in playbook.running] == ["desk/clerk#1 handles Opaque"]
    writer.close()
    await prompter.aclose()


async def test_who_does_not_know_the_word_is_not_heard() -> None:
    playbook = Playbook()
    prompter = Prompter(playbook, None)
    port = (await prompter.listen()).split()[0]
    stranger = HostLine(f"{port} {'0' * 32} no-script")

    assert await stranger.begins(turn(1)) == (0, "")
    assert list(playbook.seen(None)) == []
    await prompter.aclose()


async def test_noise_ends_its_line_and_no_other() -> None:
    playbook = Playbook()
    prompter = Prompter(playbook, None)
    order = await prompter.listen()
    port, word, _ = order.split()
    host = HostLine(order)
    reader, writer = await asyncio.open_connection(HOST, int(port))
    writer.write(word.encode() + b"\xff" * 8)

    async with asyncio.timeout(TURN_S):
        assert await reader.read() == b""
    writer.close()
    assert (await host.begins(turn(1)))[0] > 0
    assert len(playbook.running) == 1
    await prompter.aclose()
    await host.aclose_line()
