"""What history says of a turn: its message in a short form, who ran it, and its steps. Pure.

It is made where the turn runs, and kept by the journal beside the turn's end. Fields are dumped as for
`regrow quarantine show`, so that what a message hides there is hidden here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from regrow.actors.durable_wait import WAIT_MARK, answer_name
from regrow.actors.step_retries import ATTEMPT_MARK
from regrow.runtime.blobs import BlobRef
from regrow.runtime.codec import Undecodable
from regrow.runtime.immutable import wire_name
from regrow.runtime.journal_entries import ABOUT_LIMIT_BYTES, StepRecord

if TYPE_CHECKING:
    from regrow.runtime.address import ActorId
    from regrow.runtime.envelope import Envelope

FIELDS_LIMIT = 8
"""How many fields of a message are told."""
VALUE_LIMIT_CHARS = 80
"""Of one field's value."""
SHORT_NUMBER = 10**VALUE_LIMIT_CHARS
STEPS_LIMIT = 12
UNANSWERED = 6
"""Of what is kept of a step, so much is without who has answered it, and with what."""
NAME_LIMIT_CHARS = 60
"""Of the name of a field or step."""

_ATTEMPT = re.compile(rf"(.+){ATTEMPT_MARK}\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """What a turn is run for, by which life of its agent, and when it began by the store's clock."""

    message: object
    sender: ActorId | None
    incarnation: int
    begun_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What has answered a wait, and who gave it."""

    by: str
    answer: object


@dataclass(frozen=True, slots=True, kw_only=True)
class PastStep:
    """A step of a turn that has ended. `attempts` counts its retries, and the lives that have begun it again."""

    name: str
    number: int
    attempts: int
    state: str
    """A StepState, or `failed` where its last attempt was recorded as one that failed."""
    blob: BlobRef | None = None
    """What stood for a large result; the result itself goes with the outcome of its message."""
    by: str = ""
    """Of a wait: who has answered it."""
    answer: Mapping[str, Any] | None = None
    """With what, its fields cut to size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What history says of a turn. `fields` is None where nothing is known of them."""

    type_name: str = ""
    fields: Mapping[str, Any] | None = None
    is_cut: bool = False
    """Whether a field or a step is missing, or was shortened."""
    sender: str | None = None
    incarnation: int | None = None
    steps: tuple[PastStep, ...] = ()


def occasion_of(envelope: Envelope, incarnation: int, *, begun_ms: int) -> Occasion:
    """What the turn that handles this envelope is run for."""
    sender = envelope.origin.sender
    return Occasion(
        message=envelope.message,
        sender=sender.actor if sender is not None else None,
        incarnation=incarnation,
        begun_ms=begun_ms,
    )


def packed_about(occasion: Occasion, steps: Iterable[PastStep]) -> bytes:
    """What the journal keeps of a turn, at most ABOUT_LIMIT_BYTES."""
    message = occasion.message
    if isinstance(message, Undecodable):
        type_name, fields, cut = message.type_name, None, False
    else:
        type_name, (fields, cut) = wire_name(type(message)), _short_fields(message)
    taken = [_packed_step(step) for step in steps]
    told: dict[str, Any] = {
        "life": occasion.incarnation,
        "from": occasion.sender,
        "type": type_name,
        "fields": fields,
        "steps": taken[:STEPS_LIMIT],
        "cut": cut or len(taken) > STEPS_LIMIT,
    }
    lesser: tuple[dict[str, Any], ...] = (
        {},
        {"fields": None, "cut": True},
        {"steps": [each[:UNANSWERED] for each in taken[:STEPS_LIMIT]]},
        {"steps": [], "cut": True},
        {"from": None, "type": ""},
    )
    for less in lesser:
        told |= less  # signs of four bytes, or long names, may need more room than is usual
        content = _as_json(told)
        if len(content) <= ABOUT_LIMIT_BYTES:
            return content
    raise AssertionError("what is left has a fixed size")


def read_about(content: bytes) -> About:
    """What `packed_about` kept; nothing is known of what was left out."""
    if not content:
        return About()
    told = json.loads(content)
    return About(
        type_name=told["type"],
        fields=told["fields"],
        is_cut=told["cut"],
        sender=told["from"],
        incarnation=told["life"],
        steps=tuple(_read_step(*fields) for fields in told["steps"]),
    )


def _packed_step(step: PastStep) -> tuple[object, ...]:
    more: tuple[object, ...] = () if step.blob is None else (step.blob.size_bytes, step.blob.digest)
    if step.by or step.answer is not None:
        more = (*(more or (0, "")), step.by[:VALUE_LIMIT_CHARS], step.answer)
    return (step.name[:NAME_LIMIT_CHARS], step.number, step.attempts, step.state, *more)


def _read_step(
    name: str,
    number: int,
    attempts: int,
    state: str,
    size_bytes: int = 0,
    digest: str = "",
    by: str = "",
    answer: Mapping[str, Any] | None = None,
) -> PastStep:
    blob = BlobRef(digest=digest, size_bytes=size_bytes) if digest else None
    return PastStep(name=name, number=number, attempts=attempts, state=state, blob=blob, by=by, answer=answer)


def past_steps(
    records: Mapping[tuple[str, int], StepRecord],
    failed: Iterable[tuple[str, int]],
    answers: Mapping[tuple[str, int], Answered] = MappingProxyType({}),
) -> list[PastStep]:
    """The steps of a turn in the order of its records; the attempts of one with retries are one step.

    `failed` are the places whose record is that of a failure, and `answers` what has answered waits.
    """
    attempts: dict[tuple[str, int], list[StepRecord]] = {}
    for (name, occurrence), record in records.items():
        attempt = _ATTEMPT.fullmatch(name)
        first = (attempt[1], occurrence) if attempt is not None else (name, occurrence)
        attempts.setdefault(first if first in records else (name, occurrence), []).append(record)
    states = dict.fromkeys(failed, "failed")
    return [
        PastStep(
            name=_told_name(name),
            number=occurrence + 1,
            attempts=sum(record.attempts for record in made),
            state=states.get((made[-1].key.name, occurrence), made[-1].state.value),
            blob=made[-1].blob,
            by=answers[name, occurrence].by if (name, occurrence) in answers else "",
            answer=_short_fields(answers[name, occurrence].answer)[0] if (name, occurrence) in answers else None,
        )
        for (name, occurrence), made in attempts.items()
    ]


def _told_name(name: str) -> str:
    return f"wait:{answer_name(name).rpartition(':')[2]}" if name.startswith(WAIT_MARK) else name.lstrip("~")


def _as_json(told: dict[str, Any]) -> bytes:
    try:
        return to_json(told)  # a tenth of what the json module takes, and each turn of an agent pays it
    except PydanticSerializationError:  # half a surrogate pair, which is no text that others could read
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def _short_fields(message: object) -> tuple[dict[str, Any] | None, bool]:
    """The fields of a message, cut to size; and whether anything was cut."""
    try:
        dumped = to_jsonable_python(message, bytes_mode="base64", inf_nan_mode="null", fallback=str)
    except ValueError:  # a serializer of its author's; what was handled must not fail for the sake of its history
        return None, True
    if not isinstance(dumped, dict):
        return None, True
    fields: dict[str, Any] = {}
    cut = len(dumped) > FIELDS_LIMIT
    for name, value in list(dumped.items())[:FIELDS_LIMIT]:
        short, was_cut = _short(value)
        fields[str(name)[:NAME_LIMIT_CHARS]] = short
        cut = cut or was_cut
    return fields, cut


def _short(value: object) -> tuple[object, bool]:
    """The value, or the beginning of it as text."""
    if isinstance(value, str):
        return (value, False) if len(value) <= VALUE_LIMIT_CHARS else (f"{value[: VALUE_LIMIT_CHARS - 1]}…", True)
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < SHORT_NUMBER):
        return value, False
    text = json.dumps(value, ensure_ascii=False)
    return (value, False) if len(text) <= VALUE_LIMIT_CHARS else (f"{text[: VALUE_LIMIT_CHARS - 1]}…", True)
