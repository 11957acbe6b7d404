"""Where actors and hosts go: the two deciders."""

from __future__ import annotations

from regrow.cluster.hosts import (
    ACTORS_TOLD,
    DRIVER_PREFIX,
    GREETERS,
    Create,
    HostRecord,
    Use,
    choose,
    greeters,
    node_for,
)
from regrow.runtime import ActorId, Dedicated, HostId, Packed


def hosts(*nodes: str) -> list[HostRecord]:
    """One living host on each of these nodes."""
    return [HostRecord(HostId(f"h{number}"), node_id=node) for number, node in enumerate(nodes)]


def test_a_new_host_goes_to_the_node_with_the_fewest_hosts_of_the_app() -> None:
    assert node_for({"a": 2, "b": 2, "c": 2}, hosts("a", "a", "b"), own="a") == "c"
    assert node_for({"a": 2, "b": 2}, hosts("a", "b", "a"), own="a") == "b"


def test_among_equals_the_keepers_own_node_has_it() -> None:
    assert node_for({"a": 2, "own": 2}, hosts(), own="own") == "own"
    assert node_for({"c": 2, "b": 2, "own": 2}, hosts("own"), own="own") == "b"


def test_dead_hosts_and_hosts_of_nodes_that_are_gone_do_not_count() -> None:
    (dead,) = hosts("a")
    dead.alive = False

    assert node_for({"a": 2, "b": 2}, [dead], own="a") == "a"
    assert node_for({"a": 2, "b": 2}, hosts("gone", "gone"), own="a") == "a"


def test_a_node_without_cpus_is_left_alone_unless_there_is_no_other() -> None:
    assert node_for({"head": 0, "b": 2}, hosts("b", "b"), own="head") == "b"
    assert node_for({"head": 0, "b": 0}, hosts("head"), own="head") == "b"


def test_one_node_is_no_choice() -> None:
    assert node_for({"a": 2}, hosts("a"), own="a") is None
    assert node_for({}, (), own="a") is None


def test_an_actor_stays_with_its_host_and_a_pool_fills_up_before_it_is_shared() -> None:
    first, second = HostRecord(HostId("h1"), pool="p"), HostRecord(HostId("h2"))
    first.actors.add(ActorId("desk/a"))
    known = {first.host: first, second.host: second}

    assert choose(ActorId("desk/a"), Dedicated(), known, []) == Use(HostId("h1"))
    assert choose(ActorId("desk/b"), Packed("p", 2), known, []) == Create("p")
    assert choose(ActorId("desk/b"), Packed("p", 1), known, []) == Use(HostId("h1"))
    assert choose(ActorId("desk/b"), Dedicated(), known, [HostId("h2")]) == Use(HostId("h2"))


def test_a_host_that_was_made_for_a_suspect_keeps_its_agents_and_takes_nobody_so_that_it_ends() -> None:
    """It has fewer agents than the pool's own, so that each new one would go there."""
    own, joined = HostRecord(HostId("h1"), pool="p"), HostRecord(HostId("h2"), pool="p", for_suspect=True)
    own.actors.update(ActorId(f"desk/{number}") for number in range(9))
    joined.actors.add(ActorId("desk/suspect"))
    known = {own.host: own, joined.host: joined}

    assert choose(ActorId("desk/suspect"), Packed("p", 1), known, []) == Use(HostId("h2"))
    assert choose(ActorId("desk/new"), Packed("p", 1), known, []) == Use(HostId("h1"))
    own.alive = False
    assert choose(ActorId("desk/new"), Packed("p", 1), known, []) == Create("p")


def test_every_other_process_greets_a_new_host_while_the_app_is_small() -> None:
    peers = [HostId("h0"), HostId("h1"), HostId(f"{DRIVER_PREFIX}0")]

    assert greeters(HostId("h1"), peers, hosts=GREETERS) == [HostId("h0"), HostId(f"{DRIVER_PREFIX}0")]


def test_only_drivers_greet_a_new_host_of_a_large_app() -> None:
    peers = [HostId("h0"), HostId("h1"), HostId(f"{DRIVER_PREFIX}0")]

    assert greeters(HostId("h1"), peers, hosts=GREETERS + 1) == [HostId(f"{DRIVER_PREFIX}0")]


def test_a_few_of_many_agents_of_a_host_are_named_and_the_others_counted() -> None:
    record = HostRecord(HostId("h1"), actors={ActorId(f"desk/{number:04}") for number in range(ACTORS_TOLD + 5)})

    assert record.told_actors == [f"desk/{number:04}" for number in range(ACTORS_TOLD)] + ["and 5 more"]
    assert HostRecord(HostId("h2"), actors={ActorId("desk/b"), ActorId("desk/a")}).told_actors == ["desk/a", "desk/b"]
