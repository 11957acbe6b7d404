"""Whether calls that differ by what looks like noise are one more of the same, or work (decision 0044)."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

import pytest

from regrow.runtime.guards import Guards, Rung
from regrow.runtime.likeness import likenesses
from regrow.runtime.run_store import KEPT_CALLS, CallNote
from regrow.supervisors.outcome import tone
from regrow.supervisors.repeats import repeated

END = 5
Call = tuple[str, object, object]
"""A tool, its arguments, and what comes of it."""


def stopped_at(
    calls: Sequence[Call], *, gap_s: float = 1.0, took_s: float = 0.1, together: int = 1, thought_s: float = 0.0
) -> int | None:
    """At which of these calls, counted from 1, an agent is refused; so many at a time are decided on together."""
    guards = Guards(repeats_end=END)
    notes: list[CallNote] = []
    now_s = 0.0
    for at, (tool, arguments, outcome) in enumerate(calls):
        batch = f"b{at // together}" if together > 1 else ""
        now_s += gap_s if at % together == 0 else 0.0
        what = likenesses(arguments, of=tool)
        found = repeated(
            "desk/a", tool, what, notes[-KEPT_CALLS:], now_s + thought_s, guards, batch=batch, thought_s=thought_s
        )
        if found is not None and found.rung is Rung.REFUSE:
            return at + 1
        now_s += took_s + thought_s
        came = likenesses(outcome, is_result=True)
        note = CallNote(
            id=str(at),
            what=what,
            outcome=came,
            tone=tone(tool, arguments, outcome),
            batch=batch,
            took_s=took_s,
            at_s=now_s,
        )
        notes.append(note)
    return None


def each(number: int, made: Callable[[int], Call]) -> list[Call]:
    return [made(at) for at in range(number)]


def chance(at: int, digits: int = 24) -> str:
    """What a client makes up for each call, in letters and digits."""
    return f"{random.Random(at).getrandbits(4 * digits):0{digits}x}"


def moment(at: int) -> str:
    """A point in time that looks as if a clock had given it."""
    return f"2026-11-{1 + at // 24:02}T{at % 24:02}:00:07Z"


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        (lambda _: ("search", {"q": "x"}, []), END),
        (lambda at: ("search", {"q": "x", "request_id": chance(at)}, []), 2 * END),
        (lambda at: ("search", {"q": "x"}, {"hits": [], "request_id": chance(at)}), 2 * END),
        (lambda at: ("search", {"query": f"level=error since {moment(at)}"}, []), 2 * END),
        (lambda at: ("query", {"expr": "up==0", "time": 1_732_780_001 + 61 * at}, []), 2 * END),
        (lambda at: ("check", {"request_id": chance(at), "kind": "refund"}, "within policy"), 2 * END),
        (lambda at: ("bash", {"command": f"aws logs filter --request-id {chance(at)}"}, "no events"), 2 * END),
        (lambda at: ("search", {"q": "x"}, {"hits": [], "query": chance(at)}), 2 * END),
        (lambda at: ("search", {"q": "x"}, f"none (served at 10:{at % 60:02}:{at * 7 % 59 + 1:02})"), 2 * END),
        (lambda at: ("search", {"q": "x", "sessionKey": chance(at)}, []), 2 * END),
        (lambda at: ("search", {"q": "x", "attempt": at}, []), 2 * END),
        (lambda at: ("set_option", {"service": "api", "retries": at}, "saved"), 7 * END),
        (lambda at: ("approve", {"request_id": chance(at), "decision": "yes"}, "approved"), 7 * END),
        (lambda at: ("bash", {"command": f"mailctl delete --message-id={chance(at)}"}, "deleted"), 7 * END),
        (lambda at: ("remind", {"text": "stand up", "at": moment(at)}, "ok"), 7 * END),
        (lambda at: ("get_trace", {"trace_id": chance(at, 32)}, "no spans"), 7 * END),
        (lambda at: ("get_message", {"id": chance(at), "mailbox": "inbox"}, "not found"), 7 * END),
        (lambda at: ("getMessages", {"message_id": chance(at), "mailbox": "inbox"}, []), 7 * END),
        (lambda at: ("look_up_job", {"job": f"of {chance(at)}", "at": "night"}, "error: no such job"), 3 * END),
        (lambda at: ("get_message", {"session_id": chance(at), "mailbox": "inbox"}, []), 2 * END),
        (lambda at: ("get_request", {"request_id": chance(at), "kind": "refund"}, []), 2 * END),
        (lambda at: ("search", {"search_id": chance(at), "q": "x"}, []), 2 * END),
        (lambda at: ("logs", {"start_time": moment(at), "end_time": moment(at + 1)}, "nothing"), 7 * END),
        (lambda at: ("list", {"page": 70 + at, "of": "orders"}, []), 7 * END),
        (lambda at: ("login", {"user": "kim", "code": 1_000 + 7 * at}, "401: invalid code"), 3 * END),
    ],
)
def test_the_less_surely_it_is_noise_the_later_a_call_that_differs_by_it_is_ended(
    made: Callable[[int], Call], limit: int
) -> None:
    assert stopped_at(each(60, made)) == limit


@pytest.mark.parametrize(
    "made",
    [
        lambda at: ("delete_user", {"uuid": chance(at), "notify": False}, "ok"),
        lambda at: ("delete_row", {"row": at}, {"deleted": True}),
        lambda at: ("sql", {"statement": f"INSERT INTO items VALUES ({at}, 'item {at}')"}, "1 row affected"),
        lambda at: (
            "get",
            {"id": chance(at)},
            {"id": chance(at), "name": f"name {chr(97 + at % 26)}{chr(97 + at // 26)}"},
        ),
        lambda at: ("next_span", {}, {"trace_id": chance(at, 32)}),
        lambda at: ("status", {"job": "7"}, {"state": "running", "percent": at}),
        lambda at: ("write", {"text": f"{chr(97 + at % 26)}{chr(97 + at // 26)}"}, "no change"),
    ],
)
def test_one_thing_after_the_other_is_work_however_many_there_are(made: Callable[[int], Call]) -> None:
    assert stopped_at(each(60, made)) is None


@pytest.mark.parametrize("key", ["retries", "attempt", "seed", "page_size", "depth"])
def test_settings_that_are_tried_one_after_the_other_are_work(key: str) -> None:
    assert stopped_at(each(30, lambda at: ("set_option", {"service": "api", key: at}, "saved"))) is None
    assert stopped_at(each(60, lambda at: ("bench", {key: at}, {"score": at * 0.1}))) is None


def test_a_key_that_is_pressed_again_has_more_rounds_and_not_all() -> None:
    assert stopped_at(each(60, lambda _: ("press_key", {"key": "Tab"}, "ok"))) == 3 * END
    assert stopped_at(each(60, lambda _: ("send_mail", {"to": "kim", "text": "Where is it, please?"}, "sent"))) == END


def test_what_is_looked_at_between_is_what_a_blind_act_comes_to() -> None:
    stuck = [("click", {"at": "#next"}, "ok"), ("read_page", {}, "page 1")] * 20
    coming_on = [call for at in range(20) for call in (stuck[0], ("read_page", {}, f"page {at}"))]

    assert stopped_at(stuck) == 2 * (END - 1) + 1
    assert stopped_at(coming_on) is None


def test_what_has_changed_before_is_given_time_to_change_again() -> None:
    steady: list[Call] = [("status", {}, "fine")] * 30
    changing: list[Call] = [("status", {}, f"{'ab'[at // 4 % 2]}") for at in range(60)]

    assert stopped_at(steady) == END
    assert stopped_at([("status", {}, "coming"), *steady]) == 1 + 2 * END
    assert stopped_at([*changing[:3], *changing[4:7], *changing[:3], *steady]) == 9 + 4 * END


@pytest.mark.parametrize("sides", [2, 6])
def test_dice_are_rolled_as_often_as_somebody_likes(sides: int) -> None:
    rng = random.Random(7)

    assert stopped_at(each(60, lambda _: ("roll", {"sides": sides}, rng.randint(1, sides)))) is None


@pytest.mark.parametrize("number", [5, 7, 12])
def test_more_calls_in_turns_than_four_are_ended_and_so_are_those_in_no_order(number: int) -> None:
    ring = [("read", {"path": name}, f"text of {name}") for name in "abcdefghijkl"[:number]]
    mixed = [call for at in range(12) for call in random.Random(at).sample(ring, number)]

    assert stopped_at(ring * 12) == number * END
    assert stopped_at(mixed) in range(number * (END - 1), number * (END + 1))


def test_the_same_batch_again_is_ended_whatever_its_order() -> None:
    batch = [("read", {"path": name}, "nothing") for name in "abcdef"]
    rounds = [call for at in range(20) for call in random.Random(at).sample(batch, 6)]

    assert stopped_at(rounds, together=6) == 6 * END + 1


def test_two_of_a_batch_in_any_order_are_the_same_round() -> None:
    one, other = ("read", {"path": "a"}, "nothing"), ("read", {"path": "b"}, "nothing")
    rounds = [call for at in range(12) for call in ((one, other) if at % 3 else (other, one))]

    assert stopped_at(rounds, together=2) in (2 * (END - 1) + 1, 2 * END)


def test_many_of_one_batch_are_one() -> None:
    assert stopped_at([("draw", {"what": "a cat"}, "a picture")] * 40, together=40) is None


@pytest.mark.parametrize(
    ("gap_s", "outcome", "limit"),
    [
        (4.0, "running", END),
        (6.0, "running", 6 * END),
        (6.0, "no results", 3 * END),
        (31.0, "no results", None),
    ],
)
def test_steady_waits_are_given_looks_by_their_length_and_more_where_something_is_pending(
    gap_s: float, outcome: str, limit: int | None
) -> None:
    assert stopped_at([("look", {}, outcome)] * 60, gap_s=gap_s) == limit


def test_a_call_that_sleeps_is_a_wait_and_one_that_fails_slowly_is_none() -> None:
    sleeping: list[Call] = [("sleep", {"seconds": 40}, None)] * 30
    failing: list[Call] = [("run_tests", {}, "1 failed")] * 30

    assert stopped_at(sleeping, gap_s=0.1, took_s=40.0) is None
    assert stopped_at(failing, gap_s=0.1, took_s=40.0) == END


def test_sleeping_between_two_looks_is_waiting() -> None:
    calls: list[Call] = [("sleep", {"seconds": 40}, "done"), ("inbox", {}, [])] * 20

    assert stopped_at(calls, took_s=40.0) is None


def test_work_between_equal_looks_is_progress() -> None:
    looks = itertools.chain.from_iterable(
        (("git_status", {}, "clean"), ("write", {"path": f"chapter {'abcdefghij'[at % 10]}{at}"}, "written"))
        for at in range(30)
    )

    assert stopped_at(list(looks)) is None
