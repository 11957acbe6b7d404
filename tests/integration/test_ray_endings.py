"""How an app ends by itself, or does not even begin, on both engines; nothing is left of it."""

from __future__ import annotations

import pytest

from regrow import AskFailed, Shutdown
from regrow.cluster.errors import AppNotStarted
from regrow.runtime import Escalated, NoProc
from tests.integration.apps import configured
from tests.integration.apps.family import Crash, Finish, Lives, Member, brief, doomed
from tests.integration.conftest import Start
from tests.integration.lives import lives, restarted
from tests.integration.waiting import until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("alone")]


async def test_a_tree_that_gives_up_ends_the_app_and_says_who(start: Start) -> None:
    async with start(doomed) as running:
        before = await lives(running)
        await running.ref("last").tell(Crash())
        await until(lambda: restarted(running, before, "last"), "it is back once")

        await running.ref("last").tell(Crash())
        reason = await running.wait_ended()

        assert isinstance(reason, Escalated)
        assert reason.child == "last"
        assert "family trouble" in reason.cause
        with pytest.raises(AskFailed, match="doomed/other") as failed:
            await running.ref("other").ask(Lives(), timeout_s=20)
        assert failed.value.reason == NoProc()


@pytest.mark.again_on_ray
async def test_a_significant_child_that_finishes_ends_the_app_in_order(start: Start) -> None:
    async with start(brief) as running:
        await running.ref(Member).tell(Finish())

        reason = await running.wait_ended()

        assert isinstance(reason, Shutdown)


@pytest.mark.again_on_ray
async def test_config_reaches_the_agent_before_its_init(start: Start) -> None:
    async with start(configured.app) as running:
        assert await running.ref("narrow").ask(configured.Measure()) == "3 of left, wide=False"
        assert await running.ref("broad").ask(configured.Measure()) == "9 of right, wide=True"


async def test_a_config_of_the_wrong_type_does_not_start_and_says_what_to_give(start: Start) -> None:
    with pytest.raises(AppNotStarted, match=r"wrong did not start: .*limited") as failed:
        async with start(configured.wrong):
            pass

    text = str(failed.value)
    assert "Limited declares config: Limits, and got Other(size=1); give child(Limited, config=Limits(…))" in text


async def test_an_agent_that_fails_in_started_says_where(start: Start) -> None:
    with pytest.raises(AppNotStarted, match=r"late did not start: .*unready.*ConnectionError: no printer") as failed:
        async with start(configured.late):
            pass

    assert 'raise ConnectionError("no printer")' in failed.value.cause.traceback


@pytest.mark.again_on_ray
async def test_an_agent_that_fails_in_its_constructor_stops_those_before_it(start: Start) -> None:
    with pytest.raises(AppNotStarted, match=r"unmade did not start: .*unmade.*ZeroDivisionError"):
        async with start(configured.unmade):
            pass
