"""Names and groups (SEMANTICS 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime.address import ActorId
from regrow.runtime.registry import Registry

A, B = ActorId("desk/a"), ActorId("desk/b")


def test_the_first_who_takes_a_name_has_it_and_the_loser_learns_who() -> None:
    registry = Registry()

    assert registry.register("clerk", A) == A
    assert registry.register("clerk", B) == A
    assert registry.whereis("clerk") == A


def test_only_the_owner_can_give_a_name_back() -> None:
    registry = Registry()
    registry.register("clerk", A)

    assert not registry.unregister("clerk", B)
    assert registry.unregister("clerk", A)
    assert not registry.unregister("clerk", A)
    assert registry.whereis("clerk") is None


def test_a_death_frees_all_names_and_memberships_of_the_dead_and_no_others() -> None:
    registry = Registry()
    registry.register("one", A)
    registry.register("two", A)
    registry.register("three", B)
    registry.join("readers", A)
    registry.join("readers", A)
    registry.join("readers", B)

    registry.free(A)

    assert [registry.whereis(name) for name in ("one", "two", "three")] == [None, None, B]
    assert registry.members("readers") == [B]


def test_leaving_a_group_that_one_is_not_in_changes_nothing() -> None:
    registry = Registry()
    registry.join("readers", B)

    registry.leave("readers", A)
    registry.leave("writers", A)

    assert registry.members("readers") == [B]
    assert registry.members("writers") == []


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "free"]), st.sampled_from([A, B])), max_size=30))
def test_a_group_is_a_multiset(steps: list[tuple[str, ActorId]]) -> None:
    registry = Registry()
    expected: dict[ActorId, int] = {A: 0, B: 0}

    for step, actor in steps:
        if step == "join":
            registry.join("group", actor)
            expected[actor] += 1
        elif step == "leave":
            registry.leave("group", actor)
            expected[actor] = max(0, expected[actor] - 1)
        else:
            registry.free(actor)
            expected[actor] = 0

    members = registry.members("group")
    assert {actor: members.count(actor) for actor in (A, B)} == expected
