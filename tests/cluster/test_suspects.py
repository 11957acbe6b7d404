"""Whose message may have killed a host, and who runs alone for it."""

from __future__ import annotations

from regrow.cluster.hosts import HostRecord
from regrow.cluster.suspects import ALONE_AT_ONCE, HOSTS_BESIDE_POOLS, MAX_DEATHS, Suspects
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


def joined(number: int) -> HostRecord:
    """The host of a suspect that was cleared: it is one of the pool since."""
    return HostRecord(HostId(f"h{number}"), pool="desk", for_suspect=True)


def test_who_finds_no_room_stays_with_its_neighbours_until_another_is_cleared() -> None:
    suspects = Suspects()
    actors = [ActorId(f"desk/{number}") for number in range(ALONE_AT_ONCE)]
    suspects.host_died([*actors, CLERK], shared=True)
    assert all(suspects.isolate(actor, POOL, ()) for actor in actors)

    assert not suspects.isolate(CLERK, POOL, ())
    suspects.cleared(actors[0])

    assert suspects.isolate(CLERK, POOL, [joined(0)])


def test_suspects_of_before_take_no_place_however_long_their_hosts_live_up_to_a_limit_for_all_hosts() -> None:
    suspects = Suspects()
    hosts: list[HostRecord] = []
    for number in range(HOSTS_BESIDE_POOLS):
        actor = ActorId(f"desk/{number}")
        suspects.host_died([actor, SCRIBE], shared=True)
        assert suspects.isolate(actor, POOL, hosts)
        suspects.cleared(actor)
        hosts.append(joined(number))
    suspects.host_died([CLERK, SCRIBE], shared=True)

    assert not suspects.isolate(CLERK, POOL, hosts)
    hosts[0].alive = False

    assert suspects.isolate(CLERK, POOL, hosts)


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
