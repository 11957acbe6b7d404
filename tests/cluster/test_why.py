"""What is made of incidents: one death of two words, decisions, and the advice that follows from what was found."""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster.incident_store import Incident, Sort
from regrow.cluster.operations import KILLED_BY_PERSON
from regrow.cluster.why import (
    Found,
    deaths_of,
    decision_text,
    decisions_of,
    in_quarantine,
    messages_gone,
    others_of,
    retries_of,
    since_death,
)
from regrow.cluster.why_advice import what_next
from regrow.cluster.why_below import groups_below, silent_since
from regrow.cluster.why_told import told
from regrow.cluster.why_views import LINE_LIMIT_CHARS, show, users_part
from regrow.runtime import turn
from regrow.runtime.lifecycle import crashed
from tests.cluster.incident_rows import AT_MS, CRASHED, HAD, KILLED, death, incident, loss, report

FOUND = Found(agent="desk/clerk")
GUIDE = Path(__file__).parents[2] / "docs/guides/seeing-what-happened.md"


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
        ("escalated", "desk gave up: 1 restarts, where 3 are allowed in 5 s"),
    ],
)
def test_each_decision_is_one_sentence(kind: str, text: str) -> None:
    (one,) = decisions_of([report(kind, delay_s=0.2)])

    assert decision_text(one) == text


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        (CRASHED, "mend ValueError: bad at desk.py:41, which it raises when it handles Question"),
        (KILLED, "or ended itself, as by os._exit: look for its pid 42 in the kernel's log"),
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


def set_aside(command: str, life: int = 1) -> Incident:
    return incident(
        Sort.QUARANTINE, life, command=command, message="Charge", sender="desk/door", reason={"text": "it is not known"}
    )


def test_what_was_set_aside_is_known_when_the_app_is_gone_until_a_person_has_decided() -> None:
    found = replace(FOUND, set_aside=(set_aside("1"), set_aside("2")))
    decided = replace(found, decisions=(incident(Sort.ORDER, 2, deed="drop", command="1"),))

    assert [row["id"] for row in in_quarantine(found)] == ["desk/clerk@1", "desk/clerk@2"]
    assert [row["reason"] for row in in_quarantine(decided)] == ["it is not known"]
    assert [each.command for each in what_next(found)][:2] == [
        "regrow quarantine list desk/clerk",
        "regrow quarantine show desk/clerk@2",
    ]
    assert what_next(decided)[0].command == "regrow quarantine show desk/clerk@2"
    assert [decision_text(each) for each in decided.decisions] == ["a person ordered: drop of desk/clerk@1"]


def test_a_message_that_comes_into_quarantine_once_more_is_there_again() -> None:
    decided = (incident(Sort.ORDER, 2, deed="requeue", command="1"),)

    assert in_quarantine(replace(FOUND, set_aside=(set_aside("1"), set_aside("1", 3)), decisions=decided))


def test_what_the_journal_has_in_quarantine_is_what_is_there() -> None:
    found = replace(FOUND, set_aside=(set_aside("1"), set_aside("2")), is_app_running=True)

    assert in_quarantine(replace(found, quarantined=())) == ()
    (row,) = in_quarantine(replace(found, quarantined=({"id": "desk/clerk@2", "command": "2"},)))
    assert (row["message"], row["sender"]) == ("Charge", "desk/door")


def had(command: str, *fates: str) -> list[dict[str, Any]]:
    return [{**HAD, "command": command, "fate": fate} for fate in fates]


def test_a_message_that_did_not_end_at_once_is_told_with_what_became_of_it() -> None:
    messages = (*had("1", "crashed", "cut", "handled"), *had("2", "handled"), *had("3", "crashed"), *had("", "crashed"))

    assert [(each.command, each.failed, each.outcome) for each in retries_of(replace(FOUND, messages=messages))] == [
        ("1", 2, "handled"),
        ("3", 1, ""),
    ]


def test_what_the_journal_says_of_a_message_counts_more_than_what_one_process_remembers() -> None:
    row = {"message": "Question", "command": "1", "failed_before": 4, "outcome": "committed"}
    found = replace(FOUND, messages=tuple(had("1", "crashed", "handled")), history=(row,))

    (one,) = retries_of(found)
    assert (one.failed, one.outcome) == (4, "committed")


def test_what_came_of_an_escalation_before_the_last_death_is_over() -> None:
    gave_up = report("escalated", 1, restarts=4)
    above = deaths_of([death(1, {"kind": "escalated", "child": "scribe", "text": "Escalated"}, agent="desk")])
    since = replace(FOUND, decisions=(gave_up,), above=above, deaths=deaths_of([death(1)]))
    before = replace(since, deaths=deaths_of([death(1), death(5)]))

    assert [each.command for each in what_next(since)][:2] == ["", "regrow why desk/scribe"]
    assert [each.text[:15] for each in what_next(before)] == ["mend ValueError"]


def test_a_supervisor_that_gave_up_leads_to_its_child() -> None:
    ended = deaths_of([death(1, {"kind": "escalated", "child": "scribe", "text": "Escalated"}, agent="desk")])

    assert what_next(Found(agent="desk", deaths=ended))[0].command == "regrow why desk/scribe"


def test_where_a_supervisor_gave_up_the_child_and_the_limits_are_named() -> None:
    found = replace(FOUND, decisions=(report("escalated", restarts=4),))

    assert "desk gave up because of desk/clerk: 4 restarts within 5 s, where max_restarts=3" in what_next(found)[0].text


def test_a_refusal_leads_to_its_trace() -> None:
    refused = replace(death(), about={"reason": CRASHED, "messages": [{**HAD, "fate": "refused"}]})

    found = replace(FOUND, deaths=deaths_of([refused]), turns=({"trace": HAD["trace"]},))

    assert what_next(found)[-1].command == "regrow trace abababababab"


def test_a_refusal_is_told_with_its_error_and_without_a_trace_that_was_not_recorded() -> None:
    refused = {**HAD, "fate": "refused", "why": "RunUsedUp: the run has said too much"}

    (advice,) = what_next(replace(FOUND, messages=(refused,)))

    assert (advice.text, advice.command) == ("Question was refused: RunUsedUp: the run has said too much", "")
    assert "refused: RunUsedUp\n" not in shown(replace(FOUND, messages=(refused,)))
    assert "refused: RunUsedUp" in shown(replace(FOUND, messages=(refused,)))


def test_what_a_person_ordered_needs_nothing() -> None:
    found = replace(FOUND, decisions=(incident(Sort.ORDER, deed="restart"),))

    assert what_next(found)[0].text == "nothing: it ended because a person wanted it so"


def test_where_nothing_went_wrong_that_is_said() -> None:
    assert what_next(FOUND)[0].text.startswith("nothing: nothing has gone wrong")


def test_as_json_it_has_no_contents_of_messages() -> None:
    found = replace(FOUND, deaths=deaths_of([death()]), losses=(loss(),))

    assert set(told(found)["deaths"][0]["messages"][0]) == {"age_s", "message", "sender", "fate", "trace", "command"}
    assert set(told(found)["lost"][0]) == {"at", "to", "reason", "message", "sender"}


def test_the_guide_has_all_that_it_gives_as_json() -> None:
    guide = GUIDE.read_text().partition("| key | what it has |\n|---|---|\n")[2].partition("\n\n")[0]
    first_cells = [row.split("|")[1] for row in guide.splitlines()]

    assert {key for cell in first_cells for key in re.findall("[a-z_]+", cell)} == set(told(FOUND))


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


def test_of_a_group_of_errors_the_users_own_frames_and_the_innermost_place_are_told() -> None:
    async def fall() -> None:
        raise ValueError("bad")

    async def take() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fall())

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(take())
    crash = crashed(caught.value)
    files = [line.partition('"')[2].partition('"')[0] for line in users_part(crash.traceback) if 'File "' in line]

    assert asyncio.taskgroups.__file__ in crash.traceback
    assert files == [__file__] * 3
    assert crash.place == f"test_why.py:{fall.__code__.co_firstlineno + 1}"


def test_an_error_that_says_pages_leaves_what_to_do_in_sight() -> None:
    said = "x" * 5 * LINE_LIMIT_CHARS
    why = {**CRASHED, "text": f"ValueError: {said}", "traceback": f"Traceback:\nValueError: {said}\n"}

    assert len(shown(replace(FOUND, deaths=deaths_of([death(1, why)])))) < 3 * LINE_LIMIT_CHARS
    assert said in told(replace(FOUND, deaths=deaths_of([death(1, why)])))["deaths"][0]["reason"]["text"]


def shown(found: Found) -> str:
    to = io.StringIO()
    show(found, to=to)
    return to.getvalue()


OURS = f'  File "{turn.__file__}", line 1, in run_turn\n    await x\n'


def test_of_deaths_with_the_same_traceback_it_is_shown_once_and_of_others_each() -> None:
    inner = {**CRASHED, "traceback": CRASHED["traceback"].replace("Traceback:\n", f"Traceback:\n{OURS}")}
    other = {**CRASHED, "traceback": 'Traceback:\n  File "/home/ada/desk.py", line 7, in take\nKeyError: 7\n'}

    text = shown(replace(FOUND, deaths=deaths_of([death(1, other), death(2, inner), death(3)])))

    assert text.count("line 41, in take") == text.count("line 7, in take") == 1


def test_decisions_and_the_end_of_a_supervisor_above_stand_in_the_order_of_their_times() -> None:
    above = deaths_of([death(2, {"kind": "escalated", "child": "scribe", "text": "Escalated"}, agent="desk")])
    text = shown(replace(FOUND, decisions=(report("restarting", 1), report("child_started", 3)), above=above))

    places = [text.index(part) for part in ("desk restarts it", "desk, a supervisor above it, ended", "#3 runs")]
    assert places == sorted(places)


def test_what_was_decided_within_one_millisecond_stands_in_the_order_in_which_it_was_told() -> None:
    text = shown(replace(FOUND, decisions=(report("restarting", 1), report("child_started", 1))))

    assert text.index("desk restarts it") < text.index("#1 runs")


def test_the_kind_of_an_end_is_not_told_twice() -> None:
    ended = replace(FOUND, deaths=deaths_of([report("child_terminated", 1, KILLED)]))

    assert "#1 killed (as by SIGKILL)  h1" in shown(ended)


def test_messages_of_an_agent_that_lives_are_those_since_its_last_death_or_all_that_it_has() -> None:
    messages = ({**HAD, "age_s": 60.0, "message": "Old"}, {**HAD, "age_s": 1.0, "fate": "under way", "message": "New"})
    lives = replace(FOUND, is_app_running=True, messages=messages, looked_ms=AT_MS + 10_000)

    assert "its last 2 messages" in shown(lives)
    after = shown(replace(lives, deaths=deaths_of([death(1)])))
    assert "the 1 message since then" in after
    assert "New" in after and "Old" not in after


def test_messages_of_before_a_death_are_told_with_it_and_not_again_whatever_two_clocks_say() -> None:
    dead = deaths_of([death(1)])
    handled = {**HAD, "fate": "handled", "age_s": 0.0}
    lives = replace(FOUND, is_app_running=True, deaths=dead, looked_ms=AT_MS + 10_000)

    assert since_death(replace(lives, messages=({**HAD, "age_s": 0.0}, handled))) == (handled,)
    assert since_death(replace(lives, messages=(handled,))) == (handled,)


def test_turns_of_the_journal_stand_where_a_process_took_its_messages_along() -> None:
    row = {
        "message": "Charge",
        "command": "1",
        "failed_before": 2,
        "outcome": "committed",
        "ended": "2026-11-28T04:00Z",
    }

    text = shown(replace(FOUND, deaths=deaths_of([report("child_terminated", 1, KILLED)]), history=(row,)))

    assert "its latest turns, as the journal has them" in text
    assert "Charge: 2 tries did not end it, then committed" in text


# ---- what lives, and what is above, beside and below ---------------------------------------------

NODE = {
    "kind": "worker",
    "state": "running",
    "incarnation": 2,
    "restarts": 0,
    "mailbox": 0,
    "strategy": "",
    "last_reason": "",
}


def test_a_turn_that_takes_long_is_told_with_what_waits_behind_it() -> None:
    turn = {**HAD, "fate": "under way", "age_s": 300.0}
    found = replace(FOUND, is_app_running=True, node={**NODE, "mailbox": 3}, messages=(turn,))

    advice = what_next(found)[0]
    assert advice.text.startswith(
        "it has handled Question for 5 min, and 3 messages wait behind it: if that is too long"
    )
    assert advice.command == "regrow kill desk/clerk"
    assert "3 messages in its mailbox" in shown(found)
    assert what_next(replace(found, messages=({**turn, "age_s": 1.0},)))[0].text.startswith("nothing")


def test_what_waits_for_a_person_is_told_with_the_call_and_the_command_that_answers() -> None:
    row = {
        "id": "desk/clerk@1",
        "sent": "2026-11-28T10:00:00+00:00",
        "for": "x:ToolApproval",
        "call": {"tool": "pay", "arguments": '{"cents":5}'},
    }
    found = replace(FOUND, is_app_running=True, node=NODE, waits=(row,))

    advice = what_next(found)[0]
    assert 'a message of desk/clerk waits for consent to pay {"cents":5} since 2026-11-28' in advice.text
    assert advice.command == "regrow approve desk/clerk@1"
    assert 'desk/clerk@1  for consent to pay {"cents":5}' in shown(found)


def test_who_died_below_a_supervisor_is_told_by_what_they_died_of_and_the_latest_is_led_to() -> None:
    incidents = [
        *(death(life, agent=f"desk/inner/{life}") for life in (1, 2)),
        death(3, KILLED, agent="desk/other"),
    ]
    desk, inner = (Found(agent=agent, others=others_of(incidents, agent)) for agent in ("desk", "desk/inner"))

    assert [group.names for group in groups_below(desk)] == ["desk/inner/2 and 1 other", "desk/other"]
    assert [advice.command for advice in what_next(desk)] == ["regrow why desk/other", "regrow why desk/inner/2"]
    assert [advice.command for advice in what_next(inner)] == ["regrow why desk/inner/2"]
    assert "desk/inner/2 and 1 other  2       ValueError: bad" in shown(desk)
    assert what_next(replace(FOUND, others=desk.others))[0].text.startswith("nothing")


def test_of_deaths_below_those_of_an_earlier_run_are_led_to_only_where_none_is_of_this_one() -> None:
    others = others_of([death(1, agent="desk/a"), death(5, KILLED, agent="desk/b")], "desk")
    found = Found(agent="desk", others=others, is_app_running=True, started_ms=AT_MS + 3_000)

    assert [advice.command for advice in what_next(found)] == ["regrow why desk/b"]
    assert len(what_next(replace(found, started_ms=AT_MS + 9_000))) == 2


def test_one_that_was_started_anew_since_a_sibling_died_leads_to_that_one() -> None:
    supervisor = {**NODE, "id": "desk", "kind": "supervisor", "strategy": "rest_for_one"}
    found = replace(
        FOUND,
        is_app_running=True,
        node={**NODE, "restarts": 1},
        supervisors=(supervisor,),
        others=others_of([death(1, agent="desk/scribe")], "desk/clerk"),
    )

    advice = what_next(found)[0]
    assert advice.text.startswith("it was stopped and started anew in order, as desk does (rest_for_one)")
    assert advice.command == "regrow why desk/scribe"
    for_itself = replace(found, supervisors=({**supervisor, "strategy": "one_for_one"},))
    assert what_next(for_itself)[0].text.startswith("nothing")


def test_what_gave_up_in_an_earlier_run_asks_for_nothing_and_is_told_as_earlier() -> None:
    found = replace(FOUND, is_app_running=True, node=NODE, decisions=(report("escalated", restarts=4),))
    after = replace(found, started_ms=AT_MS + 60_000)

    assert "gave up" in what_next(found)[0].text
    assert what_next(after)[0].text.startswith("nothing")
    assert "the app was started anew" in shown(after)
    assert "in an earlier run" in shown(replace(after, deaths=deaths_of([death()])))


def test_what_happens_in_this_run_comes_before_a_death_in_an_earlier_one() -> None:
    refused = {**HAD, "fate": "refused", "why": "RunUsedUp: too much"}
    died = deaths_of([report("child_terminated", 1, KILLED)])
    found = replace(FOUND, is_app_running=True, node=NODE, messages=(refused,), deaths=died)

    assert "SIGKILL" not in what_next(replace(found, started_ms=AT_MS + 60_000))[0].text
    assert what_next(replace(found, started_ms=AT_MS + 60_000))[0].text.startswith("Question was refused")
    assert what_next(found)[0].text.startswith("the process of desk/clerk#1 was killed")


def test_an_end_that_could_not_be_kept_is_told_by_what_its_supervisor_says() -> None:
    node = {**NODE, "restarts": 1, "last_reason": "ValueError: bad"}
    found = replace(FOUND, is_app_running=True, node=node, started_ms=AT_MS)

    assert what_next(found)[0].text.startswith("it ended with ValueError: bad, and no more of that is kept")
    in_order = replace(found, node={**node, "last_reason": "Shutdown"})
    assert what_next(in_order)[0].text.startswith("nothing")
    assert what_next(replace(found, deaths=deaths_of([death()])))[0].text.startswith("mend ValueError")


def test_one_that_died_of_an_ask_leads_to_who_did_not_answer() -> None:
    failed = {**CRASHED, "type_name": "AskFailed", "message": "desk/bank#3 died handling Pay (ValueError: bad)"}

    assert what_next(replace(FOUND, deaths=deaths_of([death(1, failed)])))[0].command == "regrow why desk/bank"


def test_an_app_that_was_killed_has_told_nothing_of_its_end_and_one_that_was_stopped_or_gave_up_has() -> None:
    runs = [report("child_terminated", 1, CRASHED), report("restarting", 1), report("child_started", 2)]
    stopped = report("child_terminated", 3, reason("shutdown", "Shutdown"))
    gave_up = death(3, {"kind": "escalated", "child": "clerk", "text": "Escalated"}, agent="desk")
    before = incident(Sort.REPORT, 1, agent="desk/other", kind="child_started", run_ms=1)

    assert silent_since(runs) == runs[-1].at_ms
    assert silent_since([]) == silent_since([*runs, stopped]) == silent_since([*runs, gave_up]) == 0
    later = [replace(each, about={**each.about, "run_ms": 2}) for each in (*runs, stopped)]
    assert silent_since([before, *later]) == 0


def test_where_messages_went_with_their_process_it_is_told_what_stands_in_their_place() -> None:
    killed = deaths_of([report("child_terminated", 4, KILLED)])
    turn = {"at": "2026-11-28T10:00:00+00:00", "message": "Question", "took_ms": None, "status": "", "trace": "ab" * 16}
    of_it, of_next = {**turn, "incarnation": 4}, {**turn, "incarnation": 11}

    assert messages_gone(killed, (), (of_next,)).endswith(
        "life #4 had before its end went with its process; no traces of it were recorded either"
    )
    assert messages_gone(killed, (), (of_it, of_next)).endswith("its turns are told as they were recorded")
    assert messages_gone(killed, ({"outcome": "committed"},), ()).endswith("as the journal has them")
    assert messages_gone(deaths_of([death()]), (), ()) == messages_gone((), (), ()) == ""
    assert "#11   Question  no end  abababababab" in shown(replace(FOUND, deaths=killed, turns=(of_it, of_next)))


def test_what_agents_of_an_app_have_lost_is_told_of_the_app_with_whom_it_was_for() -> None:
    found = Found(agent="desk", losses=(loss(1), loss(2, agent="desk/scribe")))

    (advice,) = what_next(found)
    assert "2 messages of it are known to be lost, the last one M2 to desk/scribe (crashed)" in advice.text
    assert advice.command == "regrow why desk/scribe"
    assert "crashed: M2 from outside to desk/scribe" in shown(found)
    assert " to desk/clerk" not in shown(replace(FOUND, losses=(loss(1),)))


def test_an_app_that_hangs_is_not_told_as_one_that_is_gone() -> None:
    silent, gone = replace(FOUND, is_app_silent=True), replace(FOUND, deaths=deaths_of([death()]))

    assert what_next(silent)[0].command == "regrow ps desk"
    assert "its app does not say how it is" in shown(silent)
    assert "its app does not run" in shown(gone)
    assert what_next(gone)[0].text.startswith("mend ValueError")
