"""Envelopes and the identity that they carry (SEMANTICS 4; decision 11)."""

from __future__ import annotations

import pytest

from regrow.runtime.address import ActorId, Address, Incarnation, child_id
from regrow.runtime.envelope import Envelope, Kind, Origin, mark_handled
from tests.runtime.scripted import Echo, Note, tell


@pytest.mark.parametrize(
    ("capability", "receiver", "permitted"),
    [
        (None, "acme/clerk", True),
        (("acme",), "acme", True),
        (("acme",), "acme/clerk", True),
        (("acme",), "acme/desk/clerk", True),
        (("acme",), "acme-corp", False),
        (("acme",), "acme-corp/clerk", False),
        (("acme/desk",), "acme", False),
        (("acme/desk",), "acme/des", False),
        (("other", "acme"), "acme/clerk", True),
        ((), "acme", False),
    ],
)
def test_a_capability_reaches_an_id_and_what_is_below_it(
    capability: tuple[str, ...] | None, receiver: str, permitted: bool
) -> None:
    assert Origin(capability=capability).permits(ActorId(receiver)) is permitted


@pytest.mark.parametrize(
    ("kind", "needs_room"),
    [(Kind.TELL, True), (Kind.ASK, True), (Kind.REPLY, False), (Kind.FAILURE, False), (Kind.SIGNAL, False)],
)
def test_only_tells_and_asks_count_against_a_mailbox(kind: Kind, needs_room: bool) -> None:
    assert Envelope(kind, ActorId("a"), Note(), Origin()).needs_room is needs_room


def test_an_envelope_is_marked_handled_once() -> None:
    marks: list[str] = []
    envelope = tell()
    envelope.mark = lambda: marks.append("handled")

    mark_handled(envelope)
    mark_handled(envelope)

    assert marks == ["handled"]


def test_an_envelope_says_what_it_is() -> None:
    envelope = Envelope(Kind.ASK, ActorId("desk/clerk"), Echo(), Origin())

    assert repr(envelope) == "<ask Echo to desk/clerk>"
    assert envelope.is_ask
    assert not envelope.wants_settled


def test_an_address_shows_its_incarnation_where_it_names_one() -> None:
    clerk = child_id(ActorId("desk"), "clerk")

    assert [str(Address(clerk)), str(Address(clerk, Incarnation(3)))] == ["desk/clerk", "desk/clerk#3"]
