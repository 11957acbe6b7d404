"""Why agents end, and what follows for them, their watchers and their askers (SEMANTICS 1 and 2)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed, Message
from regrow.runtime import ActorRef, Crashed, NoProc
from tests.conformance.placements.player import (
    AskFor,
    Crash,
    Finish,
    Hold,
    Leave,
    Life,
    Mute,
    NotToday,
    Refuse,
    Trap,
    Unlink,
    Watch,
)
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

ENDS: dict[str, Message | None] = {"crashed": Crash(), "normal": Finish(), "shutdown": Leave(), "killed": None}
"""How an agent is made to end, by the kind of reason that others are told; None is a kill."""


async def end(ref: ActorRef, kind: str) -> None:
    message = ENDS[kind]
    if message is None:
        await ref.stop(grace_s=0)
    else:
        await ref.tell(message)


@pytest.mark.parametrize("kind", ENDS)
async def test_a_watcher_is_told_the_reason_of_an_end(stage: Stage, kind: str) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await ann.ask(Watch(of=bob))
    await bob.ask(Life())

    await end(bob, kind)

    assert await stage.until_seen("ann", f"down bob {kind}") == [f"down bob {kind}"]


async def test_a_down_that_no_handler_wants_is_a_dead_letter(stage: Stage) -> None:
    pat, bob = await stage.fresh("pat", "bob")
    before, refused = await pat.ask(Life()), await stage.dead_letters("refused")
    await pat.ask(Watch(of=bob))

    await bob.tell(Crash())

    async def counted() -> bool:
        return await stage.dead_letters("refused") == refused + 1

    await until(counted, "it is counted")
    assert await pat.ask(Life()) == before


@pytest.mark.parametrize("kind", ENDS)
async def test_a_permanent_child_comes_back_whatever_the_reason(stage: Stage, kind: str) -> None:
    (ref,) = await stage.fresh_group("types", "permanent")
    before = await ref.ask(Life())

    await end(ref, kind)

    assert await ref.ask(Life()) > before


async def test_a_child_that_unlinks_its_supervisor_is_supervised_all_the_same(stage: Stage) -> None:
    (ref,) = await stage.fresh_group("types", "permanent")
    supervisor = stage.ref("types")
    before = await ref.ask(Life())

    await ref.tell(Unlink(to=supervisor))
    await ref.tell(Crash())
    after = await ref.ask(Life())
    await ref.tell(Unlink(to=supervisor))
    await ref.ask(Life())
    await stage.running.stop_child(ref)

    assert after > before
    assert await stage.state("types/permanent") == "stopped"
    assert stage.record.seen("types/permanent") == ["started", "stopping"]


@pytest.mark.parametrize("kind", ENDS)
async def test_a_transient_child_comes_back_unless_it_ended_as_it_should(stage: Stage, kind: str) -> None:
    (ref,) = await stage.fresh_group("types", "transient")
    before = await ref.ask(Life())

    await end(ref, kind)

    if kind in ("crashed", "killed"):
        assert await ref.ask(Life()) > before
    else:
        await until(lambda: _is(stage, "types/transient", "finished"), "it has finished")
        with pytest.raises(AskFailed) as failed:
            await ref.ask(Life())
        assert failed.value.reason == NoProc()


@pytest.mark.parametrize("kind", ENDS)
async def test_a_temporary_child_never_comes_back(stage: Stage, kind: str) -> None:
    (ref,) = await stage.fresh_group("types", "temporary")

    await end(ref, kind)

    await until(lambda: _is(stage, "types/temporary", ""), "its supervisor has forgotten it")
    with pytest.raises(AskFailed) as failed:
        await ref.ask(Life())
    assert failed.value.reason == NoProc()
    assert "started" not in stage.record.seen("types/temporary")


async def test_a_kill_can_not_be_trapped(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await bob.tell(Trap())
    await ann.ask(Watch(of=bob))
    await bob.ask(Life())

    await bob.stop(grace_s=0)

    assert await stage.until_seen("ann", "down bob killed")
    await bob.ask(Life())
    assert stage.record.seen("bob") == ["started"], "neither did it stop in order, nor was it told of anything"


async def test_a_crash_reaches_its_asker_with_class_text_and_place(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")

    with pytest.raises(AskFailed) as failed:
        await bob.ask(Crash(text="no such thing"))
    of_an_agent = await ann.ask(AskFor(to=bob, request=Crash(text="no such thing")))

    assert isinstance(failed.value.reason, Crashed)
    assert (failed.value.type_name, failed.value.message) == ("ValueError", "no such thing")
    assert "player.py" in failed.value.traceback
    assert of_an_agent.startswith("AskFailed crashed: stage/bob#")
    assert "died handling Crash (ValueError: no such thing at player.py:" in of_an_agent


async def test_an_error_without_a_text_reaches_its_asker_too(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    before = await bob.ask(Life())

    with pytest.raises(AskFailed, match=r"TextError\.__str__ raised LookupError"):
        await bob.ask(Mute())

    assert await bob.ask(Life()) > before


async def test_an_ask_that_is_handled_at_a_kill_is_told_of_it_at_once(stage: Stage) -> None:
    (bob,) = await stage.fresh("bob")
    holding = asyncio.create_task(bob.ask(Hold(), timeout_s=600.0))
    await stage.until_seen("bob", "holds")

    await bob.stop(grace_s=0)

    with pytest.raises(AskFailed) as failed:
        await holding
    assert failed.value.reason.kind == "killed"


async def test_a_refusal_is_no_crash(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    before = await bob.ask(Life())

    with pytest.raises(NotToday, match="come back on Monday"):
        await bob.ask(Refuse())
    of_an_agent = await ann.ask(AskFor(to=bob, request=Refuse()))

    assert of_an_agent == "NotToday: come back on Monday"
    assert await bob.ask(Life()) == before


async def _is(stage: Stage, id: str, state: str) -> bool:
    return await stage.state(id) == state
