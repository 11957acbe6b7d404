"""Restarts that one poison message has caused are forgotten once its agent has committed again (SEMANTICS 6)."""

from __future__ import annotations

from regrow.runtime.envelope import Envelope, Kind
from regrow.runtime.lifecycle import Cleared, Refund
from regrow.supervisors import Backoff, Intensity, Supervisor, child
from tests.supervisors.stage import SOON_S, Actor, FarStarter, Stage, pass_time, virtual


def window(*ends: tuple[str, int], backoff: Backoff | None = None) -> Intensity:
    """A window with one restart a second, each for the end of that life of a child."""
    intensity = Intensity(max_restarts=3, within_s=60, backoff=backoff)
    for second, (id, life) in enumerate(ends):
        intensity.record(id, now_s=second, lives={id: life})
    return intensity


def test_refunded_restarts_are_not_in_the_window_any_more() -> None:
    intensity = window(("a", 1), ("a", 4), ("a", 7))

    assert intensity.refund("a", restarts=3, until=7) == 3

    assert intensity.restarts == 0
    assert not intensity.record("a", now_s=3).escalates


def test_the_restarts_of_siblings_and_of_later_and_earlier_lives_stay() -> None:
    intensity = Intensity(max_restarts=9, within_s=60)
    for second, (id, life) in enumerate([("a", 1), ("b", 2), ("a", 3), ("a", 4), ("a", 6)]):
        intensity.record(id, now_s=second, lives={id: life})

    assert intensity.refund("a", restarts=2, until=4) == 2

    assert intensity.restarts == 3
    assert intensity.refund("a", restarts=9, until=9) == 2  # lives 1 and 6: 3 and 4 were refunded


def test_what_has_left_the_window_is_not_made_up_for() -> None:
    intensity = Intensity(max_restarts=3, within_s=5)
    for second in (0, 1, 20):
        intensity.record("a", now_s=second, lives={"a": second})

    assert intensity.refund("a", restarts=3, until=20) == 1


def test_one_event_of_several_children_is_refunded_for_whichever_of_them_caused_it() -> None:
    intensity = Intensity(max_restarts=3, within_s=60)
    intensity.record("a", now_s=0, lives={"a": 1, "b": 2})

    assert intensity.refund("b", restarts=3, until=2) == 1
    assert intensity.refund("a", restarts=3, until=2) == 0


def test_an_event_of_which_children_are_told_one_after_the_other_is_refunded_for_each() -> None:
    intensity = Intensity(max_restarts=3, within_s=60)
    intensity.was_for("b", 2)  # nothing is in the window
    intensity.record("a", now_s=0, lives={"a": 1})
    intensity.was_for("b", 2)

    assert intensity.refund("b", restarts=3, until=2) == 1
    assert intensity.restarts == 0


def test_a_refunded_child_waits_no_longer_than_one_that_never_failed() -> None:
    intensity = window(("a", 1), ("a", 2), backoff=Backoff(first_s=10, max_s=60))
    intensity.started("a", now_s=2)

    intensity.refund("a", restarts=2, until=2)

    assert intensity.record("a", now_s=3).delay_s == 0
    assert intensity.aged_by == {"a"}


def test_attempts_beside_refunded_ones_age_as_before() -> None:
    intensity = Intensity(max_restarts=1, within_s=5)
    intensity.record("a", now_s=0, lives={"a": 1})
    intensity.refund("a", restarts=1, until=1)
    intensity.record("b", now_s=4)

    assert intensity.record("b", now_s=9).escalates
    assert not intensity.record("b", now_s=14.1).escalates


def refund(stage: Stage, path: str, restarts: int, until: int | None = None) -> None:
    """The child's host says that these restarts were the doing of a message."""
    word = Refund(actor=stage.actor(path), restarts=restarts, until=until or stage.cell(path).incarnation)
    stage.runtime.delivery.send(Envelope(Kind.SIGNAL, stage.actor(), word, stage.runtime.origin))


@virtual
async def test_a_child_whose_restarts_were_refunded_may_fail_as_often_again() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, id="a"), child(Actor, id="b")], max_restarts=3, within_s=60))

    for _ in range(3):
        for _ in range(3):
            await stage.crash("a")
        refund(stage, "a", 3)

    assert stage.alive() == {"a", "b"}


@virtual
async def test_without_a_refund_the_supervisor_escalates_as_ever() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, id="a"), child(Actor, id="b")], max_restarts=3, within_s=60))

    for _ in range(3):
        await stage.crash("a")
    refund(stage, "b", 3)
    await stage.crash("a")

    assert stage.alive() == set()


@virtual
async def test_a_refund_that_reaches_the_next_life_of_the_supervisor_finds_nothing_to_refund() -> None:
    stage = Stage()
    inner = Supervisor(children=[child(Actor, id="a")], max_restarts=1, within_s=60)
    await stage.start(Supervisor(children=[child(inner, id="inner")], max_restarts=3, within_s=60))
    await stage.crash("inner/a")
    life = stage.cell("inner/a").incarnation
    await stage.crash("inner/a")
    await stage.crash("inner/a")  # in the next life of its supervisor

    word = Refund(actor=stage.actor("inner/a"), restarts=3, until=life)
    stage.runtime.delivery.send(Envelope(Kind.SIGNAL, stage.actor("inner"), word, stage.runtime.origin))
    before = stage.cell("inner").incarnation
    await stage.crash("inner/a")

    assert stage.cell("inner").incarnation > before  # the one restart of this life was none of the message's


@virtual
async def test_word_of_a_child_that_is_none_changes_nothing() -> None:
    stage = Stage()
    await stage.start(Supervisor(children=[child(Actor, id="a")], max_restarts=1, within_s=60))

    for word in (Refund(actor="root/gone", restarts=3, until=99), Cleared(actor="root/gone")):
        stage.runtime.delivery.send(Envelope(Kind.SIGNAL, stage.actor(), word, stage.runtime.origin))
        stage.runtime.delivery.send(Envelope(Kind.SIGNAL, stage.actor("a"), word, stage.runtime.origin))
    await pass_time(SOON_S)

    assert stage.alive() == {"a"}


class IsolatingFarStarter(FarStarter):
    """One that is told who may share a process again."""

    def __init__(self, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type] # the runtime
        self.shared_again: list[str] = []

    def cleared(self, actor: str) -> None:
        self.shared_again.append(actor)


@virtual
async def test_the_starter_is_told_when_a_suspect_has_its_outcome() -> None:
    stage = Stage(IsolatingFarStarter)
    await stage.start(Supervisor(children=[child(Actor, id="a")]))

    word = Cleared(actor=stage.actor("a"))
    stage.runtime.delivery.send(Envelope(Kind.SIGNAL, stage.actor(), word, stage.runtime.origin))

    assert isinstance(stage.starter, IsolatingFarStarter)
    assert stage.starter.shared_again == ["root/a"]
