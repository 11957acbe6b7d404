"""What history says of a turn is short, hides what its message hides, and never makes a turn fail."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_serializer

from regrow import Message
from regrow.actors.turn_history import (
    FIELDS_LIMIT,
    STEPS_LIMIT,
    VALUE_LIMIT_CHARS,
    About,
    Answered,
    Occasion,
    PastStep,
    packed_about,
    past_steps,
    read_about,
)
from regrow.runtime.address import ActorId
from regrow.runtime.codec import Undecodable
from regrow.runtime.journal_entries import ABOUT_LIMIT_BYTES, Epoch, StepKey, StepRecord, StepState


class Pay(Message):
    text: str
    numbers: tuple[int, ...] = ()
    password: str = "open sesame"
    hidden: str = Field(default="hidden", exclude=True)

    @field_serializer("password")
    def _masked(self, value: str) -> str:
        return "***"


class Broken(Message):
    text: str

    @field_serializer("text")
    def _fails(self, value: str) -> str:
        raise KeyError(value)


Wide = type("Wide", (Message,), {"__annotations__": {f"f{n}": str for n in range(20)}, "__module__": __name__})


def told(message: object, *steps: PastStep) -> About:
    occasion = Occasion(message=message, sender=ActorId("desk/boss"), incarnation=7, begun_ms=0)
    content = packed_about(occasion, steps)
    assert len(content) <= ABOUT_LIMIT_BYTES
    return read_about(content)


def record(name: str, state: StepState = StepState.DONE, attempts: int = 1) -> tuple[tuple[str, int], StepRecord]:
    key = StepKey(name=name, occurrence=0, digest="d")
    return (name, 0), StepRecord(key=key, epoch=Epoch(1), state=state, result=b"", attempts=attempts)


def test_a_message_is_told_by_its_class_its_fields_and_its_sender() -> None:
    about = told(Pay(text="rent", numbers=(1, 2)))

    assert about.type_name.endswith(":Pay")
    assert about.fields == {"text": "rent", "numbers": [1, 2], "password": "***"}
    assert (about.sender, about.incarnation, about.is_cut) == ("desk/boss", 7, False)


def test_long_values_and_many_fields_and_steps_are_cut_and_that_is_said() -> None:
    long = told(Pay(text="x" * 1_000, numbers=tuple(range(1_000))))
    wide = told(Wide(**{f"f{n}": "é" for n in range(20)}))
    steps = told(Pay(text=""), *[PastStep(name="s", number=n, attempts=1, state="done") for n in range(50)])

    assert long.fields is not None
    assert [len(long.fields[name]) for name in ("text", "numbers")] == [VALUE_LIMIT_CHARS] * 2
    assert wide.fields is not None
    assert (len(wide.fields), len(steps.steps)) == (FIELDS_LIMIT, STEPS_LIMIT)
    assert long.is_cut and wide.is_cut and steps.is_cut


def test_what_takes_more_room_than_there_is_is_left_out() -> None:
    signs = {f"f{n}": "\U0001f600" * 500 for n in range(20)}
    steps = [PastStep(name="\U0001f600" * 60, number=n, attempts=1, state="timed_out") for n in range(12)]

    about = told(Wide(**signs), *steps)

    assert about.fields is None
    assert (about.is_cut, len(about.steps), about.incarnation) == (True, 12, 7)


def test_a_wait_is_told_with_who_has_answered_it_and_what_its_answer_does_not_hide() -> None:
    place, waited = record("~wait:desk:Pay")
    answered = Answered(by="user:ada", answer=Pay(text="yes"))

    [step] = told(Pay(text="rent"), *past_steps({place: waited}, (), {place: answered})).steps

    assert (step.name, step.by) == ("wait:Pay", "user:ada")
    assert step.answer == {"text": "yes", "numbers": [], "password": "***"}


def test_answers_that_take_more_room_than_there_is_are_left_out_before_steps_are() -> None:
    answer = {f"f{n}": "\U0001f600" * 80 for n in range(8)}
    steps = [PastStep(name="wait:Pay", number=n, attempts=1, state="done", by="a", answer=answer) for n in range(12)]

    about = told(Pay(text="rent"), *steps)

    assert [(step.number, step.answer) for step in about.steps] == [(n, None) for n in range(12)]


def test_a_message_that_can_not_be_shown_or_read_is_told_by_its_class_alone() -> None:
    broken: Any = told(Broken(text="x"))
    unread = told(Undecodable(type_name="gone:Old", reason="no module"))

    assert (broken.fields, broken.type_name.rpartition(":")[2]) == (None, "Broken")
    assert (unread.fields, unread.type_name) == (None, "gone:Old")
    assert read_about(b"") == About()


def test_attempts_of_one_step_are_one_step_with_the_state_of_the_last() -> None:
    records = dict([record("mail"), record("mail~2", attempts=2), record("look", StepState.STARTED), record("odd~2")])

    steps = past_steps(records, [("mail", 0), ("mail~2", 0)])

    assert [(step.name, step.attempts, step.state) for step in steps] == [
        ("mail", 3, "failed"),
        ("look", 1, "started"),
        ("odd~2", 1, "done"),
    ]
