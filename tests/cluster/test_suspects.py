"""Whose message may have killed a host, and who runs alone for it."""

from __future__ import annotations

from regrow.cluster.hosts import HostRecord
from regrow.cluster.suspects import HOSTS_FOR_SUSPECTS, MAX_DEATHS, Suspects
from regrow.runtime import ActorId, HostId, Packed
from regrow.runtime.starter import Suspicion

CLERK, SCRIBE = ActorId("desk/clerk"), ActorId("desk/scribe")
POOL = Packed("desk")


def test_of_an_agent_that_was_alone_the_message_has_killed_the_process_and_that_is_told_once() -> None:
    suspects = Suspects()

    assert suspects.host_died([CLERK], shared=False) == frozenset()

    assert suspects.suspicion(CLERK) is Suspicion.ALONE
    suspects.told(CLERK)
    assert suspects.suspicion(CLERK) is Suspicion.NONE


def test_of_several_in_one_process_each_is_suspected() -> None:
    suspects = Suspects()

    suspects.host_died([CLERK, SCRIBE], shared=True)

    assert suspects.suspicion(CLERK) is suspects.suspicion(SCRIBE) is Suspicion.SHARED


def test_a_suspect_runs_alone_in_each_life_until_its_message_has_its_outcome() -> None:
    suspects = Suspects()
    suspects.host_died([CLERK, SCRIBE], shared=True)

    assert suspects.isolate(CLERK, POOL, ())
    suspects.told(CLERK)

    assert suspects.runs_alone(CLERK)
    assert not suspects.runs_alone(SCRIBE)
    assert suspects.suspicion(CLERK) is Suspicion.SHARED  # its next life is to say, too, when it is over
    assert suspects.cleared(CLERK) == POOL
    assert not suspects.runs_alone(CLERK)
    assert suspects.suspicion(CLERK) is Suspicion.NONE
    assert suspects.cleared(CLERK) is None


def test_the_first_death_alone_is_that_among_others_over_again_and_costs_nothing_more() -> None:
    suspects = Suspects()
    suspects.host_died([CLERK, SCRIBE], shared=True)
    suspects.isolate(CLERK, POOL, ())

    assert suspects.host_died([CLERK], shared=False) == {CLERK}
    assert suspects.host_died([CLERK], shared=False) == frozenset()
    assert suspects.suspicion(CLERK) is Suspicion.ALONE


def test_who_was_alone_in_its_pool_pays_for_each_death() -> None:
    suspects = Suspects()
    suspects.host_died([CLERK], shared=False)
    suspects.isolate(CLERK, POOL, ())

    assert suspects.host_died([CLERK], shared=False) == frozenset()


def test_who_finds_no_room_stays_with_its_neighbours_until_another_is_cleared_and_its_host_gone() -> None:
    suspects = Suspects()
    actors = [ActorId(f"desk/{number}") for number in range(HOSTS_FOR_SUSPECTS)]
    suspects.host_died([*actors, CLERK], shared=True)
    assert all(suspects.isolate(actor, POOL, ()) for actor in actors)
    joined = HostRecord(HostId("h1"), pool="desk", for_suspect=True)

    assert not suspects.isolate(CLERK, POOL, ())
    suspects.cleared(actors[0])
    assert not suspects.isolate(CLERK, POOL, [joined])
    joined.alive = False

    assert suspects.isolate(CLERK, POOL, [joined])


def test_one_that_ends_for_good_runs_alone_no_more() -> None:
    suspects = Suspects()
    suspects.host_died([CLERK, SCRIBE], shared=True)
    suspects.isolate(CLERK, POOL, ())
    suspects.told(CLERK)

    suspects.forget(CLERK)

    assert not suspects.runs_alone(CLERK)
    assert suspects.suspicion(CLERK) is Suspicion.NONE


def test_one_that_is_started_again_by_the_message_that_killed_it_is_suspected_all_the_same() -> None:
    suspects = Suspects()
    suspects.host_died([CLERK, SCRIBE], shared=True)

    suspects.forget(CLERK)  # as one that is reached by key, and does not run

    assert suspects.suspicion(CLERK) is Suspicion.SHARED


def test_of_so_many_deaths_the_first_are_forgotten() -> None:
    suspects = Suspects()

    suspects.host_died([CLERK], shared=False)
    suspects.host_died([ActorId(f"desk/{number}") for number in range(MAX_DEATHS)], shared=False)

    assert suspects.suspicion(CLERK) is Suspicion.NONE
    assert suspects.suspicion(ActorId("desk/0")) is Suspicion.ALONE
