"""What the outcome of a call tells: that it was done, failed or is not done yet, or something of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Final

from regrow.runtime.likeness_parts import read_json
from regrow.runtime.run_store import Tone

MAX_WORDS: Final = 8
"""What says more than that says something of its own."""
MAX_ROW_WORDS: Final = 12
MAX_LOOKED: Final = 2_000
"""Of a text, so many signs are looked at."""
MAX_FIELDS: Final = 16
"""Of an object, so many fields."""
STEM_CHARS: Final = 4
GESTURE_FIELDS: Final = 3
"""To say where to click or what to press, so many values are enough, each one word of so few signs."""
GESTURE_CHARS: Final = 32

DONE_WORDS: Final = frozenset(
    "ok okay done success successful successfully succeeded true yes accepted acknowledged added applied "
    "approved booked completed confirmed created deleted finished moved pressed clicked removed saved scrolled sent "
    "stored submitted updated written".split()
)
NEUTRAL_WORDS: Final = frozenset("status state result message response it the a was has been is".split())
_NOT: Final = "".join(
    rf"(?<!\b{each} )"
    for each in ("no", "0", "zero", "not", "nothing", "without", "without any", "no tests", "0 tests")
)
"""With one of these before it a word says the contrary."""
FAILED_WORDS: Final = re.compile(
    rf"\b{_NOT}(?:error|errors|failed|failure|fail|exception|traceback|denied|forbidden|unauthorized|unauthorised|invalid|"
    r"refused|unavailable|timeout|timed out|insufficient|rejected)\b"
    r"(?!\s*[:=]\s*0\s*(?:[,;)\n]|$))"  # as in «9 passed, failed: 0»
    r"|\bhttp [45]\d\d\b"
)
PENDING_WORDS: Final = re.compile(
    rf"\b{_NOT}(?:pending|running|queued|waiting|processing|building|starting|scheduled|"
    r"in[ _-]progress|not[ _-]ready|not yet)\b"
    r"(?! (?:shoes?|lists?|rooms?|times?|totals?|costs?|prices?|points?|fees?|permits?|blocks?)\b)"  # things, no states
)
_SOME: Final = r"[1-9]\d*"
_ROWS: Final = r"(?:rows?|records?|documents?)"
_WRITTEN: Final = r"(?:affected|changed|inserted|added|updated|deleted|removed|written|modified|upserted)"
ROWS_WRITTEN: Final = re.compile(
    rf"(?:(?:status |query )?(?:ok|success) )?(?:"
    rf"insert 0 {_SOME}|(?:update|delete|merge|copy) {_SOME}"  # as PostgreSQL says it
    rf"|{_SOME} {_ROWS} (?:was |were )?{_WRITTEN}(?: \d+(?: \d+)? (?:s|sec|ms))?"  # as MySQL does
    rf"|(?:{_ROWS} )?{_WRITTEN}(?: {_ROWS}| count)? {_SOME}"
    rf"|row ?count {_SOME})(?: last ?(?:row|insert) ?id \d+)?"  # as drivers of Python do
)
"""The words in which a database says that a statement has written something, and not nothing."""
LITERALS: Final[Mapping[str, object]] = {"null": None, "true": True, "false": False}
DONE_CODES: Final = range(200, 205)
FAILED_CODES: Final = range(400, 600)

_WORD: Final = re.compile(r"[a-z]+|\d+")


def tone(tool: str, arguments: object, outcome: object) -> Tone:
    """What this outcome of a call of this tool with these arguments tells."""
    read = LITERALS.get(outcome, read_json(outcome)) if isinstance(outcome, str) else outcome
    if read is False or _has_failed(read):
        return Tone.FAILED
    if _has_done(tool, read):
        return Tone.GESTURE if _is_little(arguments) else Tone.DONE
    return Tone.PENDING if any(map(PENDING_WORDS.search, _texts_of(read))) else Tone.TOLD


def _has_done(tool: str, read: object) -> bool:
    if read is None or read is True or read == "" or (isinstance(read, Mapping) and not read):
        return True
    if isinstance(read, int | float):
        return read in DONE_CODES
    words = _words_of(read)
    if len(words) <= MAX_ROW_WORDS and ROWS_WRITTEN.fullmatch(" ".join(words)):
        return True
    known = _WORD.findall(tool.casefold())
    return 0 < len(words) <= MAX_WORDS and all(_is_done(each, known) for each in words)


def _is_little(arguments: object) -> bool:
    """Whether so little was asked for: a few short values."""
    if isinstance(arguments, str) or not arguments:
        return not isinstance(arguments, str) or _is_short(arguments)
    if not isinstance(arguments, Mapping):
        return isinstance(arguments, int | float)
    return len(arguments) <= GESTURE_FIELDS and all(map(_is_short, arguments.values()))


def _is_short(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= GESTURE_CHARS and len(value.split()) <= 1
    return value is None or isinstance(value, int | float)


def _is_done(word: str, known: Sequence[str]) -> bool:
    if word in DONE_WORDS or word in NEUTRAL_WORDS:
        return True
    if word.isdecimal():
        return int(word) in DONE_CODES
    return word.endswith(("ed", "en", "ne")) and any(
        len(each) >= STEM_CHARS and word.startswith(each[:STEM_CHARS]) for each in known
    )


def _words_of(value: object) -> list[str]:
    """The words of a short value, with those of its fields; too many where it has something to tell."""
    match value:
        case str():
            return _WORD.findall(value[:MAX_LOOKED].casefold())
        case bool():
            return ["ok"] if value else ["not"]
        case Mapping() if len(value) <= MAX_WORDS:
            return [word for name, each in value.items() for word in (*_words_of(str(name)), *_words_of(each))]
        case int():
            return [str(value)]
        case _:
            return ["?"]


def _has_failed(value: object) -> bool:
    if isinstance(value, Mapping):
        for name, each in islice(value.items(), MAX_FIELDS):
            plain = str(name).casefold()
            if plain in ("ok", "success", "succeeded") and each is False:
                return True
            if plain in ("error", "errors", "exception") and each:
                return True
            if plain in ("status", "code", "status_code") and isinstance(each, int) and each in FAILED_CODES:
                return True
    return any(map(FAILED_WORDS.search, _texts_of(value)))


def _texts_of(value: object) -> list[str]:
    """The texts that a value is or has as its fields, each up to a bound."""
    fields = islice(value.values(), MAX_FIELDS) if isinstance(value, Mapping) else (value,)
    return [each[:MAX_LOOKED].casefold() for each in fields if isinstance(each, str)]
