"""The rules of a fleet see what breaks them: each is broken by hand here, with a tree that does as it should."""

from __future__ import annotations

import random

import pytest

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.cell import State
from regrow.runtime.lifecycle import Escalated, ExitReason, Killed, Shutdown
from regrow.runtime.starter import StartRequest
from regrow.supervisors import ReportKind, Supervisor, SupervisorReport, child
from tests.simulation.fleet_rules import FleetStage, Rules
from tests.supervisors.stage import Actor, virtual

ROOT, A, B = ActorId("root"), ActorId("root/a"), ActorId("root/b")


class Broken:
    """A tree that runs, whose rules are told of things that have not happened."""

    def __init__(self, max_restarts: int = 1) -> None:
        children = [child(Actor, "a"), child(Actor, "b")]
        self.tree = Supervisor(max_restarts=max_restarts, within_s=5.0, children=children)
        self.stage = FleetStage(random.Random(0), self.tree)

    async def start(self) -> Rules:
        await self.stage.start(self.tree)
        assert not self.rules.broken
        return self.rules

    @property
    def rules(self) -> Rules:
        return self.stage.rules

    def life(self, actor: ActorId) -> Incarnation:
        return self.stage.fleet.lives[actor].incarnation

    def reports(self, kind: ReportKind, actor: ActorId) -> None:
        """The root says that it restarts a child, or gives up for it."""
        id = actor.rpartition("/")[2]
        self.rules.reported(SupervisorReport(kind=kind, supervisor=ROOT, child=id, incarnation=self.life(actor)))

    def broken(self) -> str:
        """The one rule that was."""
        (what,) = self.rules.broken
        return what


def request(actor: ActorId, incarnation: int) -> StartRequest:
    return StartRequest(actor, Incarnation(incarnation), Actor, parent=ROOT)


@virtual
async def test_a_life_that_begins_before_the_one_before_is_known_to_be_over() -> None:
    tried = Broken()
    rules = await tried.start()
    tried.reports(ReportKind.RESTARTING, A)
    rules.unconfirmed(A)

    rules.starts(request(A, 99))

    assert "root/a#99 starts, and nobody knows whether" in tried.broken()


@virtual
async def test_a_start_for_which_no_restart_was_counted() -> None:
    tried = Broken()
    rules = await tried.start()
    rules.over(A, tried.life(A))

    rules.starts(request(A, 99))

    assert "root/a#99 starts again, and no restart was counted" in tried.broken()


@virtual
async def test_the_death_of_a_host_that_is_counted_for_each_of_its_children() -> None:
    tried = Broken(max_restarts=9)
    rules = await tried.start()
    for actor in (A, B):
        rules.over(actor, tried.life(actor), "host-7")

    tried.reports(ReportKind.RESTARTING, A)
    assert not rules.broken
    tried.reports(ReportKind.RESTARTING, B)

    assert "the death of host-7 is counted once more, for b" in tried.broken()


@virtual
async def test_an_end_that_another_brought_about_and_that_is_paid_for() -> None:
    tried = Broken()
    rules = await tried.start()
    rules.over(A, tried.life(A), "host-7", free=True)

    tried.reports(ReportKind.RESTARTING, A)

    assert "root: pays for the end of a" in tried.broken()


@pytest.mark.parametrize(("kind", "times"), [(ReportKind.RESTARTING, 2), (ReportKind.ESCALATED, 1)])
def test_a_restart_beyond_the_window_and_one_who_gives_up_within_it(kind: ReportKind, times: int) -> None:
    @virtual
    async def run() -> None:
        tried = Broken()
        await tried.start()

        for _ in range(times):
            tried.reports(kind, A)

        assert f"{kind} with {times} restarts of 1 in its window" in tried.broken()

    run()


@virtual
async def test_a_supervisor_that_ends_its_children_in_start_order() -> None:
    tried = Broken()
    rules = await tried.start()
    tried.stage.cell().state = State.STOPPING

    rules.orders(A, tried.life(A))

    assert "root/a is told to end, and root/b, which was started after it, is not over" in tried.broken()


@pytest.mark.parametrize("reason", [Killed(), Shutdown(), Escalated(child="a", restarts=2)])
def test_a_supervisor_that_ends_though_nobody_told_it_to_and_its_window_has_room(reason: ExitReason) -> None:
    @virtual
    async def run() -> None:
        tried = Broken()
        rules = await tried.start()
        for actor in (A, B):
            rules.over(actor, tried.life(actor))

        rules.supervisor_ended(tried.stage.cell(), reason, quiet=False)

        assert "life.escalated=False, life.ordered=False" in tried.broken()

    run()


@virtual
async def test_a_supervisor_that_ends_while_a_child_of_it_may_still_run() -> None:
    tried = Broken()
    rules = await tried.start()
    rules.over(A, tried.life(A))
    rules.life(ROOT, tried.stage.cell().incarnation).ordered = True

    rules.supervisor_ended(tried.stage.cell(), Shutdown(), quiet=False)

    assert "and ['root/b'] may still run" in tried.broken()
