"""The supervisor of agents with keys: room for new ones, starts and ends of one key, and its window of restarts."""

from __future__ import annotations

import asyncio

import pytest

from regrow.runtime.lifecycle import Crashed, Escalated
from regrow.runtime.starter import HOST_DIED, Started, StartFailed, StartRequest
from regrow.supervisors import Backoff, KeyedSupervisorBehavior, MaxActive, child
from regrow.supervisors.requests import StopChild
from regrow.supervisors.spec import KeyedSpec
from tests.supervisors.stage import SOON_S, Actor, FarStarter, Stage, pass_time, virtual

KEYS = tuple("abcdefgh")
SLOW_S = 5.0


class DyingStarter(FarStarter):
    """Its first host dies under a start, and word of the end of that life comes ahead of that of the start."""

    has_died = False

    async def start(self, request: StartRequest) -> Started | StartFailed:
        started = await super().start(request)
        if self.has_died or request.actor == "root":
            return started
        self.has_died = True
        self.runtime.cells[request.actor].kill("host died")
        await pass_time(SOON_S)
        return StartFailed(Crashed(type_name=HOST_DIED, message="host-1 died"))


async def kind(
    make_starter: type[FarStarter] = FarStarter,
    *,
    max_active: int = 1_000,
    max_restarts: int = 3,
    backoff: Backoff | None = None,
) -> Stage:
    """A process in which `root` is the supervisor of agents with keys that are always busy."""
    stage = Stage(make_starter)
    each = child(Actor, "key", shutdown_s=1.0)
    spec = KeyedSpec(child=each, idle_s=60.0, max_active=max_active, max_restarts=max_restarts, backoff=backoff)
    await stage.start(spec)
    return stage


def supervisor(stage: Stage) -> KeyedSupervisorBehavior:
    behavior = stage.cell().behavior
    assert isinstance(behavior, KeyedSupervisorBehavior)
    return behavior


async def host_dies(stage: Stage, key: str, event: str) -> None:
    stage.far.host_dies(f"root/{key}", event=event)
    await pass_time(SOON_S)


@virtual
async def test_of_keys_that_are_wanted_at_once_no_more_start_than_may() -> None:
    stage = await kind(max_active=2)

    results = await asyncio.gather(*(supervisor(stage).activate(key) for key in KEYS), return_exceptions=True)

    assert len(stage.alive()) == 2
    assert [type(result) for result in results if result is not None] == [MaxActive] * (len(KEYS) - 2)
    await stage.stop()


@virtual
async def test_a_slow_start_of_who_waited_for_room_holds_up_no_other_key() -> None:
    stage = await kind(max_active=2)
    await asyncio.gather(*(supervisor(stage).activate(key) for key in ("a", "b")))
    stage.start_takes_s["c"] = SLOW_S
    starting = [asyncio.create_task(supervisor(stage).activate(key)) for key in ("c", "d")]
    await pass_time(SOON_S)

    await asyncio.gather(*(supervisor(stage).stop_child(key) for key in ("a", "b")))
    await pass_time(SLOW_S / 2)

    assert stage.alive() == {"d"}
    await asyncio.gather(*starting)
    assert stage.alive() == {"c", "d"}
    await stage.stop()


@virtual
async def test_an_end_of_a_start_that_failed_is_not_taken_for_that_of_the_next_life() -> None:
    stage = await kind(DyingStarter)

    await supervisor(stage).activate("a")
    await pass_time(SOON_S)

    assert stage.alive() == {"a"}
    assert ("restarting", "a") not in stage.kinds()
    await stage.stop()


@pytest.mark.parametrize("by_message", [False, True])
def test_a_stop_of_an_agent_that_is_asked_to_make_room_and_is_busy_stops_it(by_message: bool) -> None:
    @virtual
    async def test() -> None:
        stage = await kind(max_active=1)
        await supervisor(stage).activate("a")
        order = stage.ref().ask(StopChild(id="a")) if by_message else supervisor(stage).stop_child("a")
        stopping = asyncio.ensure_future(order)
        wanting = asyncio.create_task(supervisor(stage).activate("b"))

        await asyncio.wait_for(stopping, 1.0)
        await wanting

        assert stage.alive() == {"b"}
        await stage.stop()

    test()


@virtual
async def test_with_backoff_hosts_that_die_again_and_again_end_the_kind() -> None:
    stage = await kind(max_restarts=1, backoff=Backoff())

    for event in ("host-1", "host-2"):
        await supervisor(stage).activate("a")
        await host_dies(stage, "a", event)

    assert isinstance(stage.exit_of("root"), Escalated)


@virtual
async def test_with_backoff_a_host_that_dies_now_and_then_does_not() -> None:
    stage = await kind(max_restarts=1, backoff=Backoff())

    for event in ("host-1", "host-2", "host-3"):
        await supervisor(stage).activate("a")
        await host_dies(stage, "a", event)
        await pass_time(60.0)

    await supervisor(stage).activate("a")
    assert stage.alive() == {"a"}
    await stage.stop()


@virtual
async def test_with_backoff_a_key_that_does_not_start_again_does_not_count_against_others_for_ever() -> None:
    stage = await kind(max_restarts=1, backoff=Backoff())
    for key in ("a", "b"):
        await supervisor(stage).activate(key)
    stage.fail_starts["a"] = 1
    await stage.crash("a")
    assert stage.alive() == {"b"}

    await pass_time(60.0)
    await stage.crash("b")

    assert stage.alive() == {"b"}
    await stage.stop()
