"""Clients of a chaos run end with a verdict also where something never ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

import chaos_clients
import pytest
from chaos_clients import Clients
from chaos_desk import AGENTS
from history import EventType, Recorder

from regrow import Running
from regrow.runtime.errors import AskTimeout


class Stub:
    """An app, of which each ref does the same."""

    def __init__(self, does: Callable[[], Awaitable[Any]]) -> None:
        self._does = does

    def ref(self, agent: str) -> Stub:
        return self

    async def ask(self, request: object, **_: object) -> Any:
        return await self._does()

    async def tell(self, message: object, **_: object) -> None:
        await self._does()


def clients_of(does: Callable[[], Awaitable[Any]]) -> tuple[Clients, Recorder]:
    recorder = Recorder()
    return Clients(cast("Running", Stub(does)), recorder, seed=1, begun_s=0.0), recorder


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chaos_clients, "END_LIMIT_S", 0.01)


async def test_a_command_without_end_is_told_and_does_not_end_the_run() -> None:
    sent = asyncio.Event()

    async def never() -> None:
        sent.set()
        await asyncio.Event().wait()

    clients, recorder = clients_of(never)
    clients.start()
    await sent.wait()

    assert not await clients.finish()

    assert {event.type for event in recorder.events} == {EventType.INVOKE}


async def test_a_mistake_in_a_client_is_not_taken_for_a_command_without_end() -> None:
    sent = asyncio.Event()

    async def mistaken() -> None:
        sent.set()
        raise ZeroDivisionError

    clients, _ = clients_of(mistaken)
    clients.start()
    await sent.wait()

    with pytest.raises(ExceptionGroup) as raised:
        await clients.finish()
    assert raised.group_contains(ZeroDivisionError)


async def test_an_agent_that_does_not_tell_its_state_leaves_a_line_that_says_why() -> None:
    async def late() -> None:
        raise AskTimeout("it", "Total", 1.0)

    clients, recorder = clients_of(late)

    await clients.write_states()

    assert [event.agent for event in recorder.events] == list(AGENTS)
    assert {(event.position, "did not answer" in event.text) for event in recorder.events} == {(None, True)}
