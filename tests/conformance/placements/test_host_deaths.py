"""What the death of a real process means, by SIGKILL, and its silence does not, by SIGSTOP (SEMANTICS 2 to 5)."""

from __future__ import annotations

import os
import signal

import pytest

from regrow import AskFailed, AskTimeout
from tests.conformance.placements.player import Crash, Life, Link, Note, Pid, Send, Spawn, Trap, Watch, Word
from tests.conformance.placements.stage import Stage
from tests.conformance.placements.troupe import PART
from tests.integration.belongings import alive
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]

SOON_S = 0.3


@pytest.mark.usefixtures("processes")
async def test_an_ask_of_a_killed_process_fails_at_once_as_killed_and_its_agent_grows_back(stage: Stage) -> None:
    (pip,) = await stage.fresh("pip")
    before = await pip.ask(Life())
    _, waiting = await stage.held(pip)

    await _kill(stage)

    with pytest.raises(AskFailed) as failed:
        await waiting
    assert failed.value.reason.kind == "killed"
    assert await _back(stage, "pip") > before


@pytest.mark.usefixtures("processes")
async def test_messages_that_a_killed_process_had_taken_are_dead_letters_host_lost(stage: Stage) -> None:
    (pip,) = await stage.fresh("pip")
    before = await stage.dead_letters("host_lost")
    _, waiting = await stage.held(pip)
    for number in range(5):
        await pip.tell(Note(text=str(number)))

    await _kill(stage)

    with pytest.raises(AskFailed):
        await waiting
    await _back(stage, "pip")

    async def counted() -> bool:
        return await stage.dead_letters("host_lost") == before + 5

    await until(counted, "all five are counted")
    assert not {str(n) for n in range(5)} & set(stage.record.seen("pip")), "they may have run, so they do not run again"


@pytest.mark.usefixtures("processes")
async def test_agents_that_die_with_one_process_are_one_event_for_their_supervisor(stage: Stage) -> None:
    await stage.fresh_group("crew", "m0", "m1", "m2")
    crew = await stage.number("crew")
    ids = ("crew/m0", "crew/m1", "crew/m2")
    before = {id: await stage.ref(id).ask(Life()) for id in ids}

    await stage.signal(stage.ref("crew/m0"), signal.SIGKILL)

    for id in ids:
        assert await _back(stage, id) > before[id]
    assert await stage.number("crew") == crew, "three deaths would have been too many for its limit of one"


@pytest.mark.usefixtures("bystanders")
async def test_watchers_and_linked_agents_elsewhere_are_told_of_a_killed_process(stage: Stage) -> None:
    ann, amy, pip = await stage.fresh("ann", "amy", "pip")
    await ann.ask(Watch(of=pip))
    await ann.ask(Watch(of=pip))
    await amy.tell(Trap())
    await amy.tell(Link(to=pip))
    await ann.tell(Send(to=pip, message=Note(text="behind the monitors")))
    await amy.tell(Send(to=pip, message=Note(text="behind the link")))
    await stage.until_seen("pip", "behind the monitors")
    await stage.until_seen("pip", "behind the link")

    await stage.signal(pip, signal.SIGKILL)

    assert await stage.until_seen("ann", "down pip killed", 2) == ["down pip killed"] * 2
    assert await stage.until_seen("amy", "exit pip killed") == ["exit pip killed"]
    await _back(stage, "pip")
    await ann.ask(Life())
    assert stage.record.seen("ann") == ["down pip killed"] * 2, "one for each, and no more"


@pytest.mark.usefixtures("bystanders")
async def test_a_link_to_a_killed_process_takes_the_other_side_along(stage: Stage) -> None:
    ann, amy, pip = await stage.fresh("ann", "amy", "pip")
    await amy.ask(Watch(of=ann))
    await ann.tell(Link(to=pip))
    await ann.tell(Send(to=pip, message=Note(text="behind the link")))
    await stage.until_seen("pip", "behind the link")

    await stage.signal(pip, signal.SIGKILL)

    assert await stage.until_seen("amy", "down ann killed") == ["down ann killed"]
    await _back(stage, "pip")


@pytest.mark.usefixtures("processes")
async def test_a_ref_of_a_life_that_died_with_its_process_fails_at_once(stage: Stage) -> None:
    (pip,) = await stage.fresh("pip")
    kid = await pip.ask(Spawn(name="kid"))
    await kid.ask(Life())

    await stage.signal(pip, signal.SIGKILL)
    await _back(stage, "pip")

    with pytest.raises(AskFailed) as failed:
        await kid.ask(Life(), timeout_s=600.0)
    assert failed.value.reason.kind in ("noproc", "killed")


@pytest.mark.usefixtures("processes")
async def test_a_process_that_is_stopped_is_not_dead_and_goes_on_with_what_it_was_sent(stage: Stage) -> None:
    (pip,) = await stage.fresh("pip")
    before = await pip.ask(Life())
    pid = await stage.signal(pip, signal.SIGSTOP)

    try:
        with pytest.raises(AskTimeout):
            await pip.ask(Life(), timeout_s=SOON_S)
        for number in range(5):
            pip.tell_nowait(Note(text=str(number)))
    finally:
        _send(pid, signal.SIGCONT)

    assert await stage.until_seen("pip", "4") == [str(n) for n in range(5)], "and it has not started anew"
    assert await pip.ask(Life()) == before


@pytest.mark.usefixtures("bystanders")
async def test_a_stopped_process_is_killed_at_the_limit_and_dead_before_the_next_life_begins(stage: Stage) -> None:
    trigger, alone = await stage.fresh_group("pair", "trigger", "alone")
    before = await alone.ask(Life())
    pid = await stage.signal(alone, signal.SIGSTOP)

    await trigger.tell(Crash())

    await stage.until_seen("pair/alone", "started")
    assert not alive(pid), "there were two of it"
    assert await _back(stage, "pair/alone") > before
    assert await alone.ask(Pid()) != pid


@pytest.mark.usefixtures("processes")
async def test_dynamic_children_share_a_process_and_come_back_together_when_it_is_killed(stage: Stage) -> None:
    await stage.fresh_group("pool")
    children = [
        await stage.running.start_child("pool", config=PART.model_copy(update={"word": str(n)})) for n in range(5)
    ]
    (pid,) = {await child.ask(Pid()) for child in children}

    os.kill(pid, signal.SIGKILL)

    async def all_restarted() -> bool:
        return all(row.restarts == 1 and row.state == "running" for row in await stage.running.which_children("pool"))

    await until(all_restarted, "all are back")
    assert [await child.ask(Word()) for child in children] == [str(n) for n in range(5)]
    assert pid not in {await child.ask(Pid()) for child in children}


async def _kill(stage: Stage) -> None:
    """Kills the process of pip, who does not answer now."""
    nodes = [node for tree in await stage.running.tree() for _, node in tree.walk()]
    _send(next(node.pid for node in nodes if node.id == "stage/pip"), signal.SIGKILL)


def _send(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


async def _back(stage: Stage, id: str) -> int:
    """The life of an agent that answers again; an ask that leaves before the death is known may still fail."""

    async def answered() -> int:
        try:
            return await stage.ref(id).ask(Life(), timeout_s=60.0)
        except AskFailed:
            return 0

    return await until(answered, f"{id} answers again", within_s=60.0)
