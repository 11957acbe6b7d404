"""Names and groups (SEMANTICS 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime import registry as registry_module
from regrow.runtime.address import HostId
from regrow.runtime.errors import RegistryFull
from regrow.runtime.registry import Held, Registry

A, B = Held(actor="desk/a", incarnation=1, host="here"), Held(actor="desk/b", incarnation=2, host="there")


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

    assert not registry.leave("readers", A)
    assert not registry.leave("writers", A)

    assert registry.members("readers") == [B]
    assert registry.members("writers") == []


@pytest.mark.slow
@given(st.lists(st.tuples(st.sampled_from(["join", "leave", "free"]), st.sampled_from([A, B])), max_size=30))
def test_a_group_is_a_multiset(steps: list[tuple[str, Held]]) -> None:
    registry = Registry()
    expected: dict[Held, int] = {A: 0, B: 0}

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
    assert set(registry.holders()) == {actor for actor, count in expected.items() if count}
    assert len(registry) == sum(expected.values())


def test_a_name_belongs_to_one_life_and_not_to_the_next() -> None:
    registry = Registry()
    registry.register("clerk", A)
    next_life = Held(actor="desk/a", incarnation=9, host="here")

    assert registry.register("clerk", next_life) == A
    assert not registry.unregister("clerk", next_life)


def test_the_death_of_a_host_frees_what_its_actors_held_and_nothing_else() -> None:
    registry = Registry()
    registry.register("one", A)
    registry.register("two", B)
    registry.join("readers", B)
    registry.join("readers", A)
    registry.join("readers", B)

    registry.host_died(HostId("there"))
    registry.host_died(HostId("elsewhere"))

    assert (registry.whereis("one"), registry.whereis("two")) == (A, None)
    assert registry.members("readers") == [A]
    assert list(registry.holders()) == [A]


def test_what_is_held_is_bounded_and_the_refusal_says_by_what(monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in ("MAX_NAMES", "MAX_GROUP", "MAX_MEMBERSHIPS"):
        monkeypatch.setattr(registry_module, bound, 3)
    monkeypatch.setattr(registry_module, "MAX_GROUP", 2)
    registry = Registry()
    for n in range(3):
        registry.register(f"name {n}", A)
    for group in ("readers", "readers", "writers"):
        registry.join(group, A)

    with pytest.raises(RegistryFull, match="the app holds 3 names already"):
        registry.register("one too many", B)
    with pytest.raises(RegistryFull, match="group 'readers' has 2 memberships already"):
        registry.join("readers", B)
    with pytest.raises(RegistryFull, match="the app's groups have 3 memberships already"):
        registry.join("writers", B)
