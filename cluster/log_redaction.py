"""Takes what looks like a secret out of log lines, by the patterns by which it is taken out of traces.

A line may hold what an error says, and so what people, models and tools have written; a traceback holds the same. What
a line costs is bounded: so many characters of it are searched, and of what is longer the middle is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from regrow.runtime.contain import text_of
from regrow.runtime.redaction import MARGIN_CHARS, REDACTED, beginning_without

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

T = TypeVar("T")

LINE_CHARS = 16_000
"""Of all long texts of one line; looking through them takes some 10 ms."""
SHORT_CHARS = 200
"""A text no longer than this is looked through once, as most are the same again and again, and never cut."""
SHORT_KEPT = 2_000
VALUES = 500
"""Of one line: each field, and each value inside of lists and objects."""
DEPTH = 16
"""Lists and objects inside of each other; one that holds itself has no end."""
LEFT_OUT = "…"

AS_THEY_ARE = frozenset(
    "agent actor supervisor receiver sender incarnation trace command run drop_with host peer node logger level".split()
)
"""Fields that name something and say nothing: without them nobody could find it."""


class LogRedaction:
    """A processor of structlog. A text or number whose name says that it is a secret is taken out as a whole."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        self._redact = redact
        self._short = lru_cache(SHORT_KEPT)(redact)
        self._is_secret = lru_cache(SHORT_KEPT)(self._says_secret)

    def __call__(self, _logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
        """The line without its secrets."""
        telling = _Telling(self)
        return {name: value if name in AS_THEY_ARE else telling.told(value, name) for name, value in line.items()}

    def short(self, text: str) -> str:
        """A text of SHORT_CHARS at most."""
        return self._short(text)

    def long(self, text: str, room: int) -> str:
        """A text, or its beginning and its end: that of a traceback says what happened."""
        if len(text) <= room:
            return self._redact(text)
        half = room // 2
        end = self._redact(text[-half - MARGIN_CHARS :])[MARGIN_CHARS:][-half:]
        return f"{beginning_without(self._redact, text, half)} {LEFT_OUT} {end}"

    def is_secret(self, name: str) -> bool:
        """Whether a name says that what it names is a secret, as `password` does."""
        return self._is_secret(name[:SHORT_CHARS])

    def _says_secret(self, name: str) -> bool:
        kept = f"{self._redact(name)}: "
        return any(not self._redact(f"{name}: {value}").startswith(kept) for value in ("x" * 8, "x=xxxxxxxx"))


class _Telling:
    """One line on its way through, with what room is left."""

    def __init__(self, redaction: LogRedaction) -> None:
        self._redaction = redaction
        self._room = LINE_CHARS
        self._values = VALUES
        self._depth = 0

    def told(self, value: object, name: str, *, is_inside_secret: bool = False) -> object:
        self._values -= 1
        if value is None or isinstance(value, bool):
            return value
        is_secret = is_inside_secret or self._redaction.is_secret(name)
        if isinstance(value, Mapping | list | tuple | set | frozenset):
            return self._inside(value, name, is_secret)
        if is_secret:
            return REDACTED
        return (
            value if isinstance(value, int | float) else self._text(value if isinstance(value, str) else text_of(value))
        )

    def _inside(self, value: Mapping[object, object] | Iterable[object], name: str, is_secret: bool) -> object:
        if self._values <= 0 or self._depth >= DEPTH:
            return LEFT_OUT
        self._depth += 1
        told: object
        if isinstance(value, Mapping):
            named = ((text_of(key), each) for key, each in self._first(value.items()))
            told = {self._text(key): self.told(each, key, is_inside_secret=is_secret) for key, each in named}
        else:
            told = [self.told(each, name, is_inside_secret=is_secret) for each in self._first(value)]
        self._depth -= 1
        return told

    def _first(self, values: Iterable[T]) -> Iterable[T]:
        for value in list(islice(values, self._values)):  # at once, since other threads may change it meanwhile
            if self._values <= 0:
                return
            yield value

    def _text(self, text: str) -> str:
        if len(text) <= SHORT_CHARS:
            return self._redaction.short(text)
        if self._room <= 0:
            return LEFT_OUT
        told = self._redaction.long(text, self._room)
        self._room -= len(told)
        return told
