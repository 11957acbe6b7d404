"""What is made of incidents: one death of two words, decisions, and the advice that follows from what was found."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from regrow.cluster.incident_store import Sort
from regrow.cluster.operations import KILLED_BY_PERSON
from regrow.cluster.why import Found, deaths_of, decision_text, decisions_of, told, what_next
from regrow.cluster.why_views import users_part
from tests.cluster.incident_rows import CRASHED, HAD, KILLED, death, incident, loss, report

FOUND = Found(agent="desk/clerk")


def reason(kind: str, text: str) -> dict[str, Any]:
    return {"kind": kind, "text": text, "place": ""}


def test_what_process_and_supervisor_tell_of_one_life_is_one_death() -> None:
    (one,) = deaths_of([death(2), report("child_terminated", 2, CRASHED)])

    assert (one.incarnation, one.pid, one.host) == (2, 42, "h1")
    assert one.messages == (HAD,)


def test_it_is_so_whichever_word_came_first() -> None:
    assert deaths_of([report("child_terminated", 2, CRASHED), death(2)])[0].pid == 42


def test_of_a_process_that_was_killed_the_supervisor_alone_tells_and_its_messages_are_not_known() -> None:
    (one,) = deaths_of([report("child_terminated", 1, KILLED)])

    assert one.messages is None


def test_an_end_in_order_is_no_death_but_told() -> None:
    ended = report("child_terminated", 3, reason("shutdown", "Shutdown"))

    assert deaths_of([ended]) == ()
    assert [decision_text(each) for each in decisions_of([ended])] == ["#3 ended in order (Shutdown)"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("restarting", "desk restarts it after 0.2 s (1 of 3 restarts in 5 s)"),
        ("child_started", "#1 runs, pid 42"),
        ("start_failed", "#1 did not start"),
        ("escalated", "desk gave up: 1 of 3 restarts in 5 s"),
    ],
)
def test_each_decision_is_one_sentence(kind: str, text: str) -> None:
    (one,) = decisions_of([report(kind, delay_s=0.2)])

    assert decision_text(one) == text


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        (CRASHED, "mend ValueError: bad at desk.py:41, which it raises when it handles Question"),
        (KILLED, "look for its pid 42 in the kernel's log"),
        (reason("killed", "Killed (out of memory)"), "was killed for want of memory"),
        (reason("killed", f"Killed ({KILLED_BY_PERSON})"), "nothing: a person had desk/clerk#1 killed"),
        (reason("fenced", "Fenced"), "a newer life has its state"),
        (reason("noproc", "NoProc"), "look at what desk/clerk#1 ended with"),
    ],
)
def test_the_advice_follows_from_what_it_died_of(why: dict[str, Any], advice: str) -> None:
    found = replace(FOUND, deaths=deaths_of([report("child_terminated", 1, why)]))

    assert advice in what_next(found)[0].text


def test_a_message_in_quarantine_comes_first_with_the_command_that_shows_it() -> None:
    found = replace(FOUND, deaths=deaths_of([death()]), quarantined=({"id": "desk/clerk@1"},))

    assert what_next(found)[0].command == "regrow quarantine show desk/clerk@1"


def test_where_a_supervisor_gave_up_the_child_and_the_limits_are_named() -> None:
    found = replace(FOUND, decisions=(report("escalated", restarts=4),))

    assert "desk gave up because of desk/clerk: 4 restarts within 5 s, where max_restarts=3" in what_next(found)[0].text


def test_a_refusal_leads_to_its_trace() -> None:
    refused = replace(death(), about={"reason": CRASHED, "messages": [{**HAD, "fate": "refused"}]})

    assert what_next(replace(FOUND, deaths=deaths_of([refused])))[-1].command == "regrow trace abababababab"


def test_what_a_person_ordered_needs_nothing() -> None:
    found = replace(FOUND, decisions=(incident(Sort.ORDER, deed="restart"),))

    assert what_next(found)[0].text == "nothing: it ended because a person wanted it so"


def test_where_nothing_went_wrong_that_is_said() -> None:
    assert what_next(FOUND)[0].text.startswith("nothing: nothing has gone wrong")


def test_as_json_it_has_no_contents_of_messages() -> None:
    found = replace(FOUND, deaths=deaths_of([death()]), losses=(loss(),))

    assert set(told(found)["deaths"][0]["messages"][0]) == {"age_s", "message", "sender", "fate", "trace", "command"}
    assert set(told(found)["lost"][0]) == {"at", "reason", "message", "sender"}


def test_of_a_traceback_the_users_own_frames_are_shown() -> None:
    import regrow.runtime.turn as ours

    text = (
        f'Traceback:\n  File "{ours.__file__}", line 1, in run_turn\n    await x\n'
        '  File "/home/ada/desk.py", line 41, in take\n    raise ValueError("bad")\nValueError: bad'
    )

    assert users_part(text) == [
        "Traceback:",
        '  File "/home/ada/desk.py", line 41, in take',
        '    raise ValueError("bad")',
        "ValueError: bad",
    ]
