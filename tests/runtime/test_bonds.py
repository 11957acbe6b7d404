"""The bookkeeping of monitors and links (SEMANTICS 3)."""

from __future__ import annotations

from regrow.runtime.address import ActorId, Incarnation
from regrow.runtime.bonds import Bonds
from regrow.runtime.lifecycle import Down, ExitSignal, Killed
from regrow.runtime.signals import LinkedExit, Tie, Untie, Unwatch, Watch

CLERK = ActorId("desk/clerk")


def watch(monitor: int, watcher: str = "desk/analyst", life: int = 1) -> Watch:
    return Watch(monitor=monitor, watcher=watcher, watcher_incarnation=life)


def told(bonds: Bonds) -> list[tuple[str, int, str, int | None]]:
    """Whom a farewell goes to: receiver, its life, what, and the monitor's number."""
    farewells = bonds.farewells(CLERK, Incarnation(7), Killed())
    return [
        (who, life, type(message).__name__, message.monitor if isinstance(message, Down) else None)
        for who, life, message in farewells
    ]


def test_monitors_stack_and_each_gets_a_down_of_its_own() -> None:
    bonds = Bonds()
    for monitor in (4, 5):
        bonds.watched(watch(monitor))
    bonds.watched(watch(4, "desk/other"))

    assert told(bonds) == [
        ("desk/analyst", 1, "Down", 4),
        ("desk/analyst", 1, "Down", 5),
        ("desk/other", 1, "Down", 4),
    ]


def test_a_monitor_that_was_taken_back_is_not_told() -> None:
    bonds = Bonds()
    bonds.watched(watch(4))
    bonds.watched(watch(5))

    bonds.unwatched(Unwatch(monitor=4, watcher="desk/analyst"))
    bonds.unwatched(Unwatch(monitor=9, watcher="desk/analyst"))

    assert told(bonds) == [("desk/analyst", 1, "Down", 5)]


def test_a_link_is_idempotent_and_knows_the_newest_life_of_the_other() -> None:
    bonds = Bonds()

    for life in (2, 3, 3):
        bonds.tied(Tie(actor="desk/analyst", incarnation=life))

    assert told(bonds) == [("desk/analyst", 3, "LinkedExit", None), ("desk/analyst", 3, "ExitSignal", None)]


def test_links_are_told_before_monitors() -> None:
    bonds = Bonds()
    bonds.watched(watch(4))
    bonds.tied(Tie(actor="desk/other", incarnation=1))

    assert [what for _, _, what, _ in told(bonds)] == ["LinkedExit", "ExitSignal", "Down"]


def test_an_undone_link_is_not_told() -> None:
    bonds = Bonds()
    bonds.tied(Tie(actor="desk/analyst", incarnation=2))

    bonds.untied(Untie(actor="desk/analyst"))
    bonds.untied(Untie(actor="desk/analyst"))

    assert told(bonds) == []


def test_a_farewell_carries_life_and_reason() -> None:
    bonds = Bonds()
    bonds.tied(Tie(actor="desk/analyst", incarnation=2))
    bonds.watched(watch(4))

    linked, trapped, down = (
        message for _, _, message in bonds.farewells(CLERK, Incarnation(7), Killed(detail="limit"))
    )

    assert linked == LinkedExit(actor=CLERK, incarnation=7, reason=Killed(detail="limit"))
    assert trapped == ExitSignal(actor=CLERK, incarnation=7, reason=Killed(detail="limit"))
    assert down == Down(monitor=4, actor=CLERK, incarnation=7, reason=Killed(detail="limit"))
