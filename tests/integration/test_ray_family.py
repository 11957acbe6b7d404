"""Supervision as it is seen from outside, on both engines: who comes back, and with whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from regrow import AskFailed, Running
from regrow.cluster.app import EngineName
from regrow.runtime import NoProc
from tests.integration.apps.family import Crash, Finish, Lives, Pid, app
from tests.integration.conftest import Start, nothing_left
from tests.integration.lives import lives, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def family(start: Start, root: Path) -> AsyncIterator[Running]:
    """The app, started once for all tests of an engine."""
    with nothing_left(root):
        async with start(app) as running:
            yield running


async def test_one_for_all_starts_every_sibling_anew(family: Running) -> None:
    before = await lives(family)

    await family.ref("family/all/b").tell(Crash())

    after = await until(lambda: restarted(family, before, "all/b"), "b is back")
    assert _changed(before, after) == {"family/all/a", "family/all/b", "family/all/c"}


async def test_rest_for_one_starts_the_failed_one_and_the_later_ones_anew(family: Running) -> None:
    before = await lives(family)

    await family.ref("family/rest/e").tell(Crash())

    after = await until(lambda: restarted(family, before, "rest/f"), "f is back")
    assert _changed(before, after) == {"family/rest/e", "family/rest/f"}
    assert after["family/rest/e"] < after["family/rest/f"]


async def test_one_for_one_starts_only_the_failed_one_anew_and_without_its_state(family: Running) -> None:
    before = await lives(family)
    ref = family.ref("permanent")
    assert await ref.ask(Lives()) == 1
    assert await ref.ask(Lives()) == 2

    await ref.tell(Crash())

    after = await until(lambda: restarted(family, before, "permanent"), "it is back")
    assert _changed(before, after) == {"family/permanent"}
    assert await ref.ask(Lives()) == 1


async def test_a_permanent_child_that_finishes_comes_back(family: Running) -> None:
    before = await lives(family)

    await family.ref("permanent").tell(Finish())

    await until(lambda: restarted(family, before, "permanent"), "it is back")


async def test_a_transient_child_comes_back_from_a_crash_and_not_from_its_own_end(family: Running) -> None:
    before = await lives(family)
    ref = family.ref("transient")
    await ref.tell(Crash())
    await until(lambda: restarted(family, before, "transient"), "it is back")

    await ref.tell(Finish())

    await until(lambda: _has_state(family, "family/transient", "finished"), "it has finished")
    with pytest.raises(AskFailed) as failed:
        await ref.ask(Lives())
    assert failed.value.reason == NoProc()


async def test_a_temporary_child_that_crashes_is_forgotten(family: Running) -> None:
    await family.ref("temporary").tell(Crash())

    async def forgotten() -> bool:
        return "family/temporary" not in await lives(family)

    await until(forgotten, "it is gone")
    with pytest.raises(AskFailed) as failed:
        await family.ref("temporary").ask(Lives())
    assert failed.value.reason == NoProc()


async def test_a_group_that_gives_up_is_started_anew_by_its_parent(family: Running) -> None:
    before = await lives(family)
    await family.ref("family/group/g").tell(Crash())
    once = await until(lambda: restarted(family, before, "group/g"), "g is back")
    assert _changed(before, once) == {"family/group/g"}

    await family.ref("family/group/g").tell(Crash())

    after = await until(lambda: restarted(family, once, "group/h"), "h is back")
    assert _changed(once, after) == {"family/group", "family/group/g", "family/group/h"}
    assert await family.ref("family/group/h").ask(Lives()) == 1


async def test_agents_of_a_pool_share_a_process_and_dedicated_ones_do_not(family: Running, engine: EngineName) -> None:
    pids = {id: await family.ref(f"family/{id}").ask(Pid()) for id in ("all/a", "all/b", "all/c", "rest/d")}

    assert pids["all/b"] == pids["rest/d"]
    assert len(set(pids.values())) == (3 if engine == "ray" else 1)


async def _has_state(running: Running, id: str, state: str) -> bool:
    return any(node.id == id and node.state == state for _, node in (await running.tree())[0].walk())


def _changed(before: dict[str, int], after: dict[str, int]) -> set[str]:
    return {id for id in before if after.get(id) != before[id]}
