"""What agents say to each other is the same on both engines: replies, refusals, crashes, refs, monitors, timers."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import ActorRef, AskFailed, AskTimeout, Crashed, Refused, Running
from regrow.cluster.app import EngineName
from regrow.runtime import Down, NoProc
from regrow.runtime.errors import AskCycle, CallingSelf, InvalidMessage
from tests.integration.apps.talk import (
    Add,
    AskFriend,
    AskInCircle,
    AskMyself,
    Card,
    Crash,
    CrashFriend,
    CrashTold,
    Decline,
    Demonitor,
    Downs,
    EndParent,
    Find,
    Greet,
    Halve,
    Introduce,
    Lie,
    Monitor,
    Nothing,
    NotOnSundays,
    Parent,
    Show,
    Spawn,
    Speaker,
    Split,
    StartClock,
    Sync,
    Thread,
    Ticks,
    Unknown,
    UnknownTold,
    Wait,
    Watcher,
    WhereAmI,
    WhoIsFriend,
    app,
    double,
    shout,
)
from tests.integration.conftest import Start, nothing_left
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

DEAD = (
    r"talk/speaker#\d+ died handling (\w+) \((.*)\); "
    r"(it is back after \d+ ms|its supervisor starts it again unless it is temporary); "
)
ONCE = r"not retried, since Agent delivers at most once"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once for all tests of an engine."""
    with nothing_left(root):
        async with start(app) as running:
            yield running


async def test_replies_keep_their_types(talk: Running) -> None:
    speaker = talk.ref(Speaker)
    card = Card(parts=(Card(text="inner"),), maybe=3)

    assert await speaker.ask(Show(card=card)) == card
    assert await speaker.ask(Add(numbers=(1, 2, 3))) == 6
    assert await speaker.ask(Halve(number=3)) == 1.5
    assert await speaker.ask(Split(text="a b")) == ("a", "b")
    assert await speaker.ask(Find(key="here")) == "here"
    assert await speaker.ask(Find(key="away")) is None
    assert await speaker.ask(Nothing()) is None  # type: ignore[func-returns-value]


async def test_agent_functions_are_asked_by_their_arguments(talk: Running) -> None:
    assert await talk.ref(double).ask(double.request(4)) == 8
    assert await talk.ref(double).ask(double.request(4, times=3)) == 12
    hey = shout.request("hey")  # type: ignore[call-arg] # checkers do not know that ctx is filled in
    assert await talk.ref(shout).ask(hey) == "talk/shout: HEY"


async def test_on_ray_an_agent_has_its_own_process_or_shares_that_of_its_pool(
    talk: Running, engine: EngineName
) -> None:
    pids = {node.id: node.pid for _, node in (await talk.tree())[0].walk()}
    pool = {pids[f"talk/{id}"] for id in ("sync", "clock", "parent", "double", "shout")}
    own = {pids[id] for id in ("talk", "talk/speaker", "talk/ann", "talk/bob", "talk/watcher")}

    assert await talk.ref(Speaker).ask(WhereAmI()) == pids["talk/speaker"]
    assert len(pool) == 1
    assert len(own | pool) == (6 if engine == "ray" else 1)


async def test_a_crash_reaches_its_asker_with_reason_place_and_what_comes_next(talk: Running) -> None:
    with pytest.raises(AskFailed, match=DEAD + ONCE) as failed:
        await talk.ref(Speaker).ask(Crash(text="the 7th page is missing"))

    assert isinstance(failed.value.reason, Crashed)
    assert failed.value.type_name == "ValueError"
    assert failed.value.message == "the 7th page is missing"
    assert failed.value.reason.on_message == "Crash"
    assert "raise ValueError(request.text)" in failed.value.traceback
    assert f"(ValueError: the 7th page is missing at {failed.value.reason.place})" in str(failed.value)
    assert failed.value.reason.place.startswith("talk.py:")
    assert await talk.ref(Speaker).ask(Add(numbers=(1,))) == 1


async def test_a_crash_on_a_tell_is_a_dead_letter_and_the_agent_comes_back(talk: Running) -> None:
    before = dict((await talk.counts()).dead_letters).get("crashed", 0)

    await talk.ref(Speaker).tell(CrashTold())

    await until(lambda: _dead_letters(talk, "crashed", more_than=before), "a dead letter `crashed`")
    assert await talk.ref(Speaker).ask(Add(numbers=(1,))) == 1


async def test_a_reply_of_the_wrong_type_is_the_agents_crash(talk: Running) -> None:
    with pytest.raises(AskFailed, match=DEAD + ONCE) as failed:
        await talk.ref(Speaker).ask(Lie())

    assert failed.value.type_name == "InvalidMessage"
    assert failed.value.message == "the reply to Lie must be int, not str"


async def test_a_refusal_keeps_its_class_and_the_agent_lives(talk: Running) -> None:
    life = await _incarnation(talk, "talk/speaker")

    with pytest.raises(NotOnSundays, match="come back on Monday"):
        await talk.ref(Speaker).ask(Decline())

    assert issubclass(NotOnSundays, Refused)
    assert await _incarnation(talk, "talk/speaker") == life


async def test_an_ask_that_nobody_handles_says_what_is_handled(talk: Running) -> None:
    life = await _incarnation(talk, "talk/speaker")

    with pytest.raises(Refused, match=r"talk/speaker \(Speaker\) has no handler for Unknown; it handles Add, Crash"):
        await talk.ref(Speaker).ask(Unknown())
    await talk.ref(Speaker).tell(UnknownTold())

    await until(lambda: _dead_letters(talk, "refused"), "a dead letter `refused`")
    assert await _incarnation(talk, "talk/speaker") == life


async def test_a_timeout_leaves_the_callee_alone_and_its_late_reply_is_a_dead_letter(
    talk: Running, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"

    for timeout_s in (0.2, 2.0, 20.0):  # what comes to its receiver later than that is not begun any more
        told = rf"talk/speaker did not answer Wait within {timeout_s:g} s; it was not stopped"
        with pytest.raises(AskTimeout, match=told):
            await talk.ref(Speaker).ask(Wait(begun=str(begun), go=str(go)), timeout_s=timeout_s)
        if begun.exists():
            break
    go.touch()

    assert await talk.ref(Speaker).ask(Add(numbers=(2, 2))) == 4
    await until(lambda: _dead_letters(talk, "late_reply"), "a dead letter `late_reply`")


async def test_an_agent_that_never_was_is_no_proc_at_once(talk: Running) -> None:
    with pytest.raises(AskFailed, match=r"talk/nobody does not exist or has ended for good, so nobody can answer Add"):
        await talk.ref("nobody").ask(Add(numbers=()), timeout_s=20)
    await talk.ref("nobody").tell(UnknownTold())

    await until(lambda: _dead_letters(talk, "no_such_agent"), "a dead letter `no_such_agent`")


async def test_no_proc_is_the_reason_of_one_that_never_was(talk: Running) -> None:
    with pytest.raises(AskFailed) as failed:
        await talk.ref("nobody").ask(Add(numbers=()), timeout_s=20)

    assert failed.value.reason == NoProc()


async def test_refs_travel_in_messages_and_in_replies(talk: Running) -> None:
    ann = talk.ref("ann")
    await ann.tell(Introduce(to=talk.ref(Speaker)))

    friend = await ann.ask(WhoIsFriend())

    assert isinstance(friend, ActorRef)
    assert friend == talk.ref(Speaker)
    assert await friend.ask(Add(numbers=(1, 1))) == 2
    assert await ann.ask(AskFriend(numbers=(20, 22))) == 42


async def test_an_agent_that_asks_sees_the_same_failure_as_a_driver(talk: Running) -> None:
    await talk.ref("ann").tell(Introduce(to=talk.ref(Speaker)))

    told = await talk.ref("ann").ask(CrashFriend())

    assert told.startswith("AskFailed: talk/speaker#")
    assert "died handling Crash (ValueError: no such thing at talk.py:" in told
    assert await talk.ref("ann").ask(AskFriend(numbers=(1,))) == 1


async def test_an_agent_that_asks_itself_is_told_so(talk: Running) -> None:
    with pytest.raises(AskFailed) as failed:
        await talk.ref("ann").ask(AskMyself())

    assert failed.value.type_name == CallingSelf.__name__
    assert "talk/ann asked itself" in failed.value.message


async def test_a_circle_of_asks_fails_at_once_and_names_itself(talk: Running) -> None:
    ann, bob = talk.ref("ann"), talk.ref("bob")
    await ann.tell(Introduce(to=bob))
    await bob.tell(Introduce(to=ann))

    with pytest.raises(AskFailed) as failed:
        await ann.ask(AskInCircle(), timeout_s=20)

    assert AskCycle.__name__ in str(failed.value)
    assert "talk/ann → talk/bob → talk/ann" in failed.value.traceback + failed.value.message


async def test_a_plain_handler_runs_in_a_thread(talk: Running) -> None:
    assert (await talk.ref(Sync).ask(Thread())).startswith("regrow-handler")
    assert (await talk.ref(Sync).ask(Thread())).endswith("of talk/sync")


async def test_timers_tick_in_order_and_a_cancelled_one_never(talk: Running) -> None:
    await talk.ref("clock").tell(StartClock(ticks=5))

    async def ticks() -> tuple[int, ...] | None:
        seen = await talk.ref("clock").ask(Ticks())
        return seen if len(seen) == 5 else None

    assert await until(ticks, "five ticks") == (0, 1, 2, 3, 4)


async def test_a_spawned_child_is_in_its_parents_process_and_ends_with_it(talk: Running) -> None:
    kid = await talk.ref(Parent).ask(Spawn(name="kid"))
    assert kid.id == "talk/parent/kid"
    assert await kid.ask(Add(numbers=(1, 2))) == 3
    assert await kid.ask(WhereAmI()) == await _pid(talk, "talk/parent")

    await talk.ref(Parent).tell(EndParent())

    async def gone() -> bool:
        try:
            await kid.ask(Add(numbers=()), timeout_s=20)
        except AskFailed as failed:
            return failed.reason == NoProc()
        return False

    assert await until(gone, "the child has ended")
    namesake = await talk.ref(Parent).ask(Spawn(name="kid"))
    assert namesake != kid
    assert await namesake.ask(Add(numbers=(3,))) == 3


async def test_a_crash_of_a_spawned_child_is_an_answer_to_its_asker(talk: Running) -> None:
    kid = await talk.ref(Parent).ask(Spawn(name="frail"))

    with pytest.raises(AskFailed, match=r"talk/parent/frail#\d+ died handling Crash \(ValueError: no such thing at"):
        await kid.ask(Crash())


async def test_every_monitor_gets_one_down_with_the_reason(talk: Running) -> None:
    watcher = talk.ref(Watcher)
    first = await watcher.ask(Monitor(of="talk/speaker"))
    second = await watcher.ask(Monitor(of="talk/speaker"))
    taken_back = await watcher.ask(Monitor(of="talk/speaker"))
    await watcher.tell(Demonitor(number=taken_back))
    life = await _incarnation(talk, "talk/speaker")
    await watcher.ask(Greet(of="talk/speaker"))

    with pytest.raises(AskFailed):
        await talk.ref(Speaker).ask(Crash(text="seen by two"))

    downs = await until(lambda: _downs(talk, {first, second}), "two Downs")
    assert {(down.actor, down.incarnation, down.reason.kind) for down in downs} == {("talk/speaker", life, "crashed")}
    assert "seen by two" in str(downs[0].reason)
    assert not await _downs(talk, {taken_back})


async def test_a_monitor_of_the_dead_says_no_proc(talk: Running) -> None:
    number = await talk.ref(Watcher).ask(Monitor(of="talk/nobody"))

    (down,) = await until(lambda: _downs(talk, {number}), "a Down")

    assert down.reason == NoProc()


async def test_a_value_that_can_not_travel_is_the_senders_error(talk: Running) -> None:
    with pytest.raises(InvalidMessage, match="send an instance of a class derived from Request"):
        await talk.ref(Speaker).ask("hello")  # type: ignore[arg-type]


async def test_many_asks_at_once_get_each_their_own_reply(talk: Running) -> None:
    answers = await asyncio.gather(*(talk.ref(double).ask(double.request(n)) for n in range(500)))

    assert answers == [2 * n for n in range(500)]


async def test_the_tree_shows_states_processes_and_restarts(talk: Running, engine: EngineName) -> None:
    await talk.ref(Speaker).ask(Add(numbers=()))  # behind the crash of an earlier test
    root = (await talk.tree())[0]

    assert root.id == "talk"
    assert root.kind == "supervisor"
    assert [node.id for node in root.children][:3] == ["talk/speaker", "talk/ann", "talk/bob"]
    assert {node.state for node in root.children} == {"running"}
    assert (root.pid == os.getpid()) == (engine == "inline")
    assert all(node.node for node in root.children)


async def _incarnation(running: Running, id: str) -> int:
    return next(node.incarnation for _, node in (await running.tree())[0].walk() if node.id == id)


async def _pid(running: Running, id: str) -> int:
    return next(node.pid for _, node in (await running.tree())[0].walk() if node.id == id)


async def _dead_letters(running: Running, reason: str, more_than: int = 0) -> bool:
    return dict((await running.counts()).dead_letters).get(reason, 0) > more_than


async def _downs(running: Running, numbers: set[int]) -> list[Down]:
    """The Downs of these monitors, empty until there are all of them."""
    downs = [down for down in await running.ref(Watcher).ask(Downs()) if down.monitor in numbers]
    return downs if len(downs) >= len(numbers) else []
