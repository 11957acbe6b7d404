"""Prompts, answers, arguments and results on spans: without their secrets, bounded, and JSON that stays JSON.

Secrets are looked for in each text as it was written, and in a value together with its name. Inside of JSON a quote is
escaped: there a pattern misses a secret, or takes along the quote that ends it, and nobody can read the rest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from regrow.runtime import telemetry
from regrow.runtime.contain import travelling
from regrow.runtime.redaction import REDACTED

if TYPE_CHECKING:
    from opentelemetry.trace import Span

CONTENT_CHARS = 16_000
"""Of one prompt, answer, argument or result, and of all messages of one call."""
SHORT_CHARS = 64
"""A text no longer than this, such as an id, the name of a tool or a role, is never cut."""
LEAST_CHARS = 500
"""Where there is less room than this, no further message is begun."""
MAX_DEPTH = 50
"""Of lists and objects in each other; nobody reads deeper."""


def note_content(span: Span, name: str, text: Callable[[], str]) -> None:
    """Keeps a text on a span, without its secrets; only where that is switched on, and else it is not made."""
    if _is_wanted(span):
        span.set_attribute(name, content_of(travelling(text())))


def note_messages(span: Span, name: str, messages: Callable[[], Sequence[Mapping[str, object]]]) -> None:
    """Keeps messages on a span as a JSON list in their order; of too many the earliest are left out."""
    if _is_wanted(span):
        span.set_attribute(name, messages_of(messages()))


def content_of(text: str) -> str:
    """A text, or its beginning, without its secrets; JSON with a secret in it is JSON still."""
    value = parsed(text)
    if value is None:
        return telemetry.without_secrets(text, CONTENT_CHARS)
    told = _Telling(CONTENT_CHARS).told(value)
    kept = text if told == value else _json(told)
    return kept if len(kept) <= CONTENT_CHARS else telemetry.without_secrets(kept, CONTENT_CHARS)


def messages_of(messages: Sequence[Mapping[str, object]]) -> str:
    """The last messages that there is room for, of which the first one may be cut, without their secrets."""
    kept: list[str] = []
    room = CONTENT_CHARS
    for message in reversed(messages):
        fitted = _fitted(message, room)
        if fitted is None:
            break
        kept.append(fitted)
        room -= len(fitted) + len(", ")
    return f"[{', '.join(reversed(kept))}]"


def parsed(text: str) -> object:
    """The JSON object or list that a text is; None for any other text, and for one longer than CONTENT_CHARS."""
    if len(text) > CONTENT_CHARS or not text.startswith(("{", "[")):
        return None
    try:
        value: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if _is_shallow(value) else None


def _is_wanted(span: Span) -> bool:
    return telemetry.spans.with_content and span.is_recording()


def _fitted(message: Mapping[str, object], room: int) -> str | None:
    """A message as JSON, its texts cut until it fits; None where that would leave nothing of it."""
    texts_chars = room if room >= LEAST_CHARS else 0
    while texts_chars >= SHORT_CHARS:
        fitted = _json(_Telling(texts_chars).told(message))
        if len(fitted) <= room:
            return fitted
        texts_chars //= 2  # signs that are escaped take two places or six
    return None


def _is_shallow(value: object) -> bool:
    """Whether lists and objects are nested no deeper than MAX_DEPTH."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _inner(each)]
        if not level:
            return True
    return False


def _inner(value: object) -> Sequence[object]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else ()


class _Telling:
    """Tells a value without its secrets, with so many characters of long texts in all."""

    def __init__(self, room: int) -> None:
        self._room = room

    def told(self, value: object, name: str = "") -> object:
        """The same value; a text or number that is a secret is REDACTED."""
        if isinstance(value, Mapping):
            around = name if name and _is_secret(name, "x") else ""  # what it says holds for all that is inside
            return {_redacted(str(key)): self.told(each, around or str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.told(each, name) for each in value]
        if isinstance(value, str):
            return self._text(value, name)
        if isinstance(value, bool) or value is None:
            return value
        return value if self._text(str(value), name) == str(value) else REDACTED

    def _text(self, text: str, name: str) -> str:
        is_short = len(text) <= SHORT_CHARS
        if not is_short and self._room <= 0:
            return ""  # and not searched: there may be thousands of them
        told = travelling(telemetry.without_secrets(text, SHORT_CHARS if is_short else self._room))
        if not is_short:
            self._room -= len(told)
        return REDACTED if name and _is_secret(name, told[:SHORT_CHARS]) else told


def _is_secret(name: str, text: str) -> bool:
    """Whether the name says that the text is one, as `password` does; also of two words, which need the quotes."""
    kept = f"{_redacted(name)}: "
    return any(not _redacted(f"{name}: {each}").startswith(kept) for each in (text, f'"{text}"'))


def _redacted(text: str) -> str:
    return telemetry.spans.redact(text)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
