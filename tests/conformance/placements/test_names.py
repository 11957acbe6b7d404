"""Names and groups of a whole app (SEMANTICS 3)."""

from __future__ import annotations

import asyncio

import pytest

from regrow import AskFailed
from regrow.runtime import NoProc
from tests.conformance.placements.player import (
    Crash,
    Enrol,
    GiveBack,
    Join,
    Life,
    Members,
    Seek,
    Send,
    Succeed,
    Watch,
)
from tests.conformance.placements.stage import Stage
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package")]


async def test_the_first_has_a_name_and_the_loser_learns_who(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")

    assert await ann.ask(Enrol(name="leader")) == "taken"
    assert await ann.ask(Enrol(name="leader")) == "taken", "to take it again is no error"
    told = await bob.ask(Enrol(name="leader"))

    assert told.startswith("NameTaken: ")
    assert "stage/ann" in told
    found = await amy.ask(Seek(name="leader"))
    assert found is not None
    assert found.id == "stage/ann"
    assert await amy.ask(Seek(name="nobody's")) is None


async def test_of_many_who_want_a_name_at_once_one_has_it(stage: Stage) -> None:
    refs = await stage.fresh("ann", "bob", "amy", "ben")

    told = await asyncio.gather(*(ref.ask(Enrol(name="contested")) for ref in refs))

    assert sorted(text.partition(":")[0] for text in told) == ["NameTaken"] * 3 + ["taken"]


async def test_a_name_is_free_when_its_watchers_hear_of_the_end(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    assert await bob.ask(Enrol(name="office")) == "taken"
    await ann.ask(Watch(of=bob))
    await ann.tell(Succeed(name="office"))
    await ann.tell(Send(to=bob, message=Crash()))

    assert await stage.until_seen("ann", "office taken") == ["down bob crashed", "office taken"]
    found = await bob.ask(Seek(name="office"))
    assert found is not None
    assert found.id == "stage/ann"


async def test_a_name_leads_to_the_life_that_took_it_and_not_to_the_next(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    await bob.ask(Enrol(name="desk"))
    ref = await ann.ask(Seek(name="desk"))
    assert ref is not None
    before = await ref.ask(Life())

    await bob.stop(grace_s=0)
    assert await bob.ask(Life()) > before

    with pytest.raises(AskFailed) as failed:
        await ref.ask(Life(), timeout_s=600.0)
    assert failed.value.reason == NoProc()
    assert await ann.ask(Seek(name="desk")) is None


async def test_a_name_is_given_back_by_its_owner_only(stage: Stage) -> None:
    ann, bob = await stage.fresh("ann", "bob")
    assert await ann.ask(Enrol(name="chair")) == "taken"

    by_another = await bob.ask(GiveBack(name="chair"))
    still = await bob.ask(Enrol(name="chair"))
    by_its_owner = await ann.ask(GiveBack(name="chair"))

    assert not by_another
    assert still.startswith("NameTaken: ")
    assert by_its_owner
    assert await bob.ask(Enrol(name="chair")) == "taken"


async def test_groups_are_multisets_and_a_death_ends_all_memberships(stage: Stage) -> None:
    ann, bob, amy = await stage.fresh("ann", "bob", "amy")
    for ref in (ann, bob, bob):
        await ref.ask(Join(group="crew"))
    assert sorted(ref.id for ref in await amy.ask(Members(group="crew"))) == ["stage/ann", "stage/bob", "stage/bob"]

    await bob.stop(grace_s=0)
    await bob.ask(Life())

    async def only_ann() -> bool:
        return [ref.id for ref in await amy.ask(Members(group="crew"))] == ["stage/ann"]

    await until(only_ann, "both memberships of bob have ended")
