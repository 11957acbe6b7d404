"""Failures as values that travel, and exit reasons made of exceptions."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from pydantic import TypeAdapter

from regrow.runtime.errors import (
    AskCycle,
    AskFailed,
    CallingSelf,
    Closed,
    InvalidMessage,
    MailboxFull,
    NotAllowed,
    OutOfBudget,
    Refused,
    RegrowError,
)
from regrow.runtime.late_names import late_names
from regrow.runtime.lifecycle import (
    MESSAGE_LIMIT_CHARS,
    TRACEBACK_LIMIT_CHARS,
    Crashed,
    Escalated,
    ExitReason,
    Fenced,
    Killed,
    NoProc,
    Normal,
    Shutdown,
    crashed,
)
from regrow.runtime.signals import MAX_DETAIL_CHARS, MAX_DETAILS, Failure, failure_of


class Overdrawn(OutOfBudget):
    """A refusal of a user, with a constructor of its own."""

    def __init__(self, account: str, *, by: int) -> None:
        super().__init__(f"{account} is overdrawn by {by}")


@pytest.mark.parametrize(
    "error",
    [
        Refused("no"),
        NotAllowed("not you"),
        Overdrawn("ann", by=3),
        InvalidMessage("what is this"),
        Closed("over"),
        CallingSelf("desk/clerk"),
        AskCycle(("a", "b"), "a"),
        MailboxFull("desk/clerk", 10, 0.0),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_receiver_answers_keeps_its_class_and_text(error: RegrowError) -> None:
    back = failure_of(error).exception("desk/clerk")

    assert (type(back), str(back)) == (type(error), str(error))


@pytest.mark.parametrize("error", [CallingSelf("desk/clerk"), AskCycle(("a",), "desk/clerk"), MailboxFull("x", 1, 0.0)])
def test_what_a_receiver_answers_names_the_receiver(error: RegrowError) -> None:
    back = failure_of(error).exception("desk/clerk")

    assert getattr(back, "actor", None) == "desk/clerk"


def test_a_refusal_of_a_class_that_is_unknown_here_is_still_a_refusal() -> None:
    back = Failure(error="SomethingElse", text="no").exception("desk/clerk")

    assert (type(back), str(back)) == (Refused, "no")


def test_of_two_refusals_of_one_name_the_asker_gets_that_of_the_module_that_raised_it() -> None:
    made = [
        type("NotFound", (Refused,), {"__module__": module, "__qualname__": "NotFound"}) for module in ("shop", "desk")
    ]

    for cls in made:
        assert type(failure_of(cls("gone")).exception("desk/clerk")) is cls
    unknown = Failure(error="elsewhere:NotFound", text="gone").exception("desk/clerk")
    assert type(unknown) is Refused


def test_a_refusal_keeps_its_plain_attributes() -> None:
    error = Overdrawn("ann", by=3)
    error.note = "bad \udcff"  # type: ignore[attr-defined]
    error.ledger = [1, 2]  # type: ignore[attr-defined]

    back = failure_of(error).exception("desk/clerk")

    assert vars(back) == {**vars(Overdrawn("ann", by=3)), "note": r"bad \udcff"}


def test_a_refusal_carries_no_more_than_small_attributes() -> None:
    error = Refused("no")
    error.__dict__.update({"text": "x" * (MAX_DETAIL_CHARS + 1), "number": 2**70})
    error.__dict__.update({f"n{n}": n for n in range(MAX_DETAILS + 1)})

    assert vars(failure_of(error).exception("desk/clerk")) == {f"n{n}": n for n in range(MAX_DETAILS)}


class Mixed(Refused, KeyError):
    """A refusal that is of a builtin class too, and made from what is not its text."""

    def __new__(cls, *, key: str) -> Mixed:
        return super().__new__(cls)

    def __init__(self, *, key: str) -> None:
        super().__init__(key)
        self.key = key


def test_a_refusal_is_raised_again_without_what_its_class_wants_to_be_made_from() -> None:
    back = failure_of(Mixed(key="k")).exception("desk/clerk")

    assert isinstance(back, Mixed)
    assert back.key == "k"


def test_a_failure_with_a_reason_is_an_ask_failed_with_that_reason() -> None:
    reason = Crashed(type_name="ValueError", message="no", traceback="…")

    back = Failure(error="AskFailed", text="it died", reason=reason).exception("desk/clerk")

    assert isinstance(back, AskFailed)
    assert (back.actor, back.reason, str(back)) == ("desk/clerk", reason, "it died")
    assert (back.type_name, back.message, back.traceback) == ("ValueError", "no", "…")


def test_an_ask_failed_without_a_crash_has_no_exception_to_show() -> None:
    error = AskFailed("desk/clerk", NoProc(), "gone")

    assert (error.type_name, error.message, error.traceback) == ("", "", "")


# ---- exit reasons --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "abnormal", "shown"),
    [
        (Normal(), False, "Normal"),
        (Shutdown(), False, "Shutdown"),
        (Shutdown(detail="drained"), False, "Shutdown (drained)"),
        (Killed(), True, "Killed"),
        (Killed(detail="limit"), True, "Killed (limit)"),
        (Crashed(type_name="ValueError", message="no"), True, "ValueError: no"),
        (Crashed(type_name="ValueError", message=""), True, "ValueError"),
        (
            Escalated(child="clerk", restarts=4, cause="Boom"),
            True,
            "Escalated: clerk ended 4 times, which is too often (Boom)",
        ),
        (Fenced(), True, "Fenced: a newer incarnation owns the state"),
        (NoProc(), True, "NoProc: no such agent is running"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, bool | str) else None,
)
def test_a_reason_says_what_happened_and_whether_links_die_of_it(
    reason: ExitReason, abnormal: bool, shown: str
) -> None:
    assert (reason.abnormal, str(reason)) == (abnormal, shown)


def test_a_crash_carries_class_text_traceback_and_the_message_it_died_on() -> None:
    reason = crashed(raised(ValueError("no such page")), on_message="Question")

    assert (reason.type_name, reason.message, reason.on_message) == ("ValueError", "no such page", "Question")
    assert reason.traceback.startswith("Traceback (most recent call last):")
    assert reason.place.startswith("test_signals.py:")


def test_the_place_of_a_crash_is_the_innermost_frame_of_the_users_own_code() -> None:
    traceback = '  File "/app/outer.py", line 3, in run\n    go()\n  File "/app/inner.py", line 41, in go\n    1 / 0\n'

    assert Crashed(type_name="E", message="", traceback=traceback).place == "inner.py:41"
    assert Crashed(type_name="E", message="").place == ""


@pytest.mark.parametrize(
    "fails",
    [lambda: json.loads("{"), lambda: TypeAdapter(int).validate_python("many"), lambda: late_names("room", {})("hall")],
    ids=["the standard library", "an installed library", "regrow itself"],
)
def test_the_place_of_a_crash_in_a_library_is_where_it_was_called(fails: Callable[[], object]) -> None:
    with pytest.raises(Exception) as failed:  # noqa: PT011 # whatever that library raises
        fails()

    assert crashed(failed.value).place.startswith("test_signals.py:")


def test_a_long_report_keeps_what_tells_most() -> None:
    reason = crashed(raised(ValueError("x" * 2 * TRACEBACK_LIMIT_CHARS)))

    assert len(reason.traceback) == TRACEBACK_LIMIT_CHARS + 1
    assert reason.traceback.startswith("…")
    assert reason.message == "x" * MESSAGE_LIMIT_CHARS + "…"


def raised(error: Exception) -> Exception:
    """The error after it was raised, with a traceback."""
    try:
        raise error
    except Exception as caught:  # any: a test names which
        return caught
