"""Dead letters: counted exactly, logged at a bounded rate (SEMANTICS 5)."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from regrow.runtime.address import ActorId, Address, Incarnation
from regrow.runtime.dead_letters import KEPT, LOGGED_PER_S, NAME_LIMIT_CHARS, DeadLetters
from regrow.runtime.envelope import Origin
from regrow.runtime.metrics import OTHER, VALUES_KEPT
from regrow.runtime.testing import pass_time, virtual
from tests.runtime.scripted import tell


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def test_every_dead_letter_is_counted_by_its_reason() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        for _ in range(KEPT * 2):
            dead.add(tell(), "expired")
        dead.add(tell(), "crashed")

    assert dead.counts == {"expired": KEPT * 2, "crashed": 1}
    assert dead.total == KEPT * 2 + 1


def test_reasons_beyond_a_bound_are_counted_together_and_the_total_is_exact() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        for n in range(VALUES_KEPT + 7):
            dead.add(tell(), f"desk:OutOfStock{n}")

    assert dead.counts[OTHER] == 7
    assert len(dead.counts) == VALUES_KEPT + 1
    assert dead.total == VALUES_KEPT + 7


def test_only_the_latest_are_kept_to_be_looked_at() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        for n in range(KEPT + 1):
            dead.add(tell(receiver=f"desk/{n}"), "expired")

    assert (len(dead.latest), dead.latest[0].receiver, dead.latest[-1].receiver) == (KEPT, "desk/1", f"desk/{KEPT}")


def test_a_dead_letter_says_who_sent_what_to_whom_and_why() -> None:
    dead = DeadLetters(Clock())
    sender = Origin(sender=Address(ActorId("desk/analyst"), Incarnation(3)))

    with capture_logs() as logs:
        dead.add(tell(origin=sender), "no_such_agent")

    assert logs == [
        {
            "event": "dead letter",
            "incarnation": 0,
            "log_level": "warning",
            "message": "Note",
            "reason": "no_such_agent",
            "receiver": "desk/clerk",
            "sender": "desk/analyst#3",
        }
    ]


def test_a_sender_outside_the_tree_is_named_by_its_principal() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        dead.add(tell(origin=Origin(principal="ann")), "expired")
        dead.add(tell(), "expired")

    assert [letter.sender for letter in dead.latest] == ["ann", "outside"]


def test_a_flood_is_logged_as_a_few_lines_and_one_with_the_number_of_the_rest() -> None:
    clock = Clock()
    dead = DeadLetters(clock)

    with capture_logs() as logs:
        for _ in range(LOGGED_PER_S + 7):
            dead.add(tell(), "mailbox_full")
        clock.now_s += 1.0
        dead.add(tell(), "mailbox_full")

    assert [line["event"] for line in logs[:LOGGED_PER_S]] == ["dead letter"] * LOGGED_PER_S
    assert [(line["event"], line.get("count")) for line in logs[LOGGED_PER_S:]] == [
        ("dead letters not logged one by one", 7),
        ("dead letter", None),
    ]


@virtual
async def test_a_flood_that_ends_is_summed_up_without_another_dead_letter() -> None:
    loop = asyncio.get_running_loop()
    dead = DeadLetters(loop.time, loop.call_later)

    with capture_logs() as logs:
        for _ in range(LOGGED_PER_S + 7):
            dead.add(tell(), "mailbox_full")
        await pass_time(2.0)
        dead.add(tell(), "mailbox_full")

    assert [(line["event"], line.get("count")) for line in logs[LOGGED_PER_S:]] == [
        ("dead letters not logged one by one", 7),
        ("dead letter", None),
    ]


def test_a_dead_letter_tells_the_life_that_was_to_handle_it() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        dead.add(tell(), "crashed", Incarnation(4))
        dead.add(tell(), "no_such_agent")

    assert [letter.incarnation for letter in dead.latest] == [4, 0]


def test_the_line_of_a_dead_letter_carries_the_trace_of_its_message() -> None:
    traced, trace = tell(), "0af7651916cd43dd8448eb211c80319c"
    traced.origin = traced.origin.under(f"00-{trace}-b7ad6b7169203331-01")

    with capture_logs() as logs:
        DeadLetters(Clock()).add(traced, "expired")
        DeadLetters(Clock()).add(tell(), "expired")

    assert [line.get("trace") for line in logs] == [trace, None]


def test_a_kept_dead_letter_is_of_bounded_size() -> None:
    dead = DeadLetters(Clock())

    with capture_logs():
        dead.add(tell(receiver="desk/" + "x" * 10_000), "expired")

    assert len(dead.latest[0].receiver) == NAME_LIMIT_CHARS


def test_a_dead_letter_needs_no_more_care_of_the_link_that_brought_it() -> None:
    marks: list[str] = []
    envelope = tell()
    envelope.mark = lambda: marks.append("handled")

    with capture_logs():
        DeadLetters(Clock()).add(envelope, "expired")

    assert marks == ["handled"]
