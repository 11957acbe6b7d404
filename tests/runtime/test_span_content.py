"""Content on spans: no secret stays, also none inside of JSON, and what was JSON can be read as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regrow.runtime import telemetry
from regrow.runtime.redaction import MARGIN_CHARS, REDACTED, Redaction
from regrow.runtime.span_content import CONTENT_CHARS, MAX_DEPTH, SHORT_CHARS, content_of, messages_of

SECRET = "sk-proj-abcdefghijklmnop1234"
TEXTS = st.text('a:" \\\n\x01ü', max_size=20)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(autouse=True, scope="module")
def redaction() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(telemetry.spans, "redact", Redaction())
        yield


def said(*texts: str) -> list[dict[str, object]]:
    """Messages with these texts."""
    return [{"role": "user", "parts": [{"type": "text", "content": text}]} for text in texts]


def texts_of(told: str) -> list[str]:
    """The texts in messages that were told."""
    return [message["parts"][0]["content"] for message in json.loads(told)]


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"city": "Oslo", "password": "hunter22"}, {"city": "Oslo", "password": REDACTED}),
        ({"api_key": 123456789, "page": 3}, {"api_key": REDACTED, "page": 3}),
        ({"password": "two words", "hint": ""}, {"password": REDACTED, "hint": ""}),
        ({"passwords": ["one", "two"], "page": 3}, {"passwords": [REDACTED, REDACTED], "page": 3}),
        (
            {"password": {"value": "one", "or": [{"pin": 12}]}},
            {"password": {"value": REDACTED, "or": [{"pin": REDACTED}]}},
        ),
        ({"to": ["ada@example.com", "Bo"]}, {"to": [REDACTED, "Bo"]}),
        ({"ada@example.com": "agrees to all of it"}, {REDACTED: "agrees to all of it"}),
        ({"card": 4111111111111111}, {"card": REDACTED}),
        ({"note": f'she said "{SECRET}"'}, {"note": f'she said "{REDACTED}"'}),
        ({"max_tokens": 1000, "done": True, "left": None}, {"max_tokens": 1000, "done": True, "left": None}),
    ],
)
def test_secrets_leave_arguments_which_stay_json(value: dict[str, Any], told: dict[str, Any]) -> None:
    assert json.loads(content_of(json.dumps(value))) == told


def test_json_without_a_secret_stays_as_it_was_written() -> None:
    assert content_of('{"city" :"Oslo",  "days":[1,2.50]}') == '{"city" :"Oslo",  "days":[1,2.50]}'


@pytest.mark.parametrize(
    "text", [f"it is {SECRET}", f'{{"broken": "{SECRET}', "[" * CONTENT_CHARS + SECRET, "{}" + SECRET]
)
def test_what_is_no_json_is_told_as_text_without_its_secrets(text: str) -> None:
    assert SECRET not in content_of(text)
    assert len(content_of(text)) <= CONTENT_CHARS


def test_json_that_is_nested_deeper_than_anybody_reads_is_told_as_text() -> None:
    nested = "[" * (MAX_DEPTH + 1) + f'"{SECRET}"' + "]" * (MAX_DEPTH + 1)

    assert content_of(nested) == nested.replace(SECRET, REDACTED)


@given(VALUES)
def test_whatever_is_told_of_messages_is_json_within_its_limit(value: object) -> None:
    told = messages_of([{"role": "user", "parts": [value]}])

    assert len(told) <= CONTENT_CHARS
    assert [message["role"] for message in json.loads(told)] == ["user"]


@pytest.mark.parametrize("sign", ["x", '"', "\n", "\x01", "ü", "\ud800"])
def test_a_message_that_is_too_long_is_cut_and_can_be_read(sign: str) -> None:
    told = messages_of(said(sign * 3 * CONTENT_CHARS))

    assert CONTENT_CHARS // 8 < len(told) <= CONTENT_CHARS
    assert len(texts_of(told)[0]) > SHORT_CHARS


def test_of_too_many_messages_the_last_ones_are_told_and_the_first_of_those_is_cut() -> None:
    told = messages_of(said(*(f"{number} {'x' * 5_000}" for number in range(1_000))))

    kept = texts_of(told)
    assert len(told) <= CONTENT_CHARS
    assert [text.partition(" ")[0] for text in kept] == ["996", "997", "998", "999"]
    assert [len(text) for text in kept[1:]] == [5_004] * 3


def test_of_many_long_messages_only_what_may_be_kept_is_searched_for_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[int] = []

    def redact(text: str) -> str:
        searched.append(len(text))
        return text

    monkeypatch.setattr(telemetry.spans, "redact", redact)
    messages_of([{"role": "user", "parts": ["x" * 1_000_000] * 200}] * 200)

    assert sum(searched) < 10 * (CONTENT_CHARS + MARGIN_CHARS)


@pytest.mark.parametrize("before", range(15_900, 16_001, 7))
def test_of_a_secret_at_the_edge_of_what_is_kept_no_part_stays(before: int) -> None:
    assert "abc" not in messages_of(said("x " * (before // 2) + SECRET))
