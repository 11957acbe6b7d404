"""The parts of which the likeness of a value is made, each with the highest degree at which it counts. Pure.

Of a large value all counts, but only its first part is looked into: behind that also a change that says nothing is one.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from itertools import islice
from operator import itemgetter
from pathlib import PurePath
from typing import Final
from uuid import UUID

from pydantic import BaseModel

from regrow.runtime import noise

MAX_PARTS: Final = 500
"""Values inside of one value that are looked into; what is behind them counts as it is written."""
MAX_WRITTEN: Final = 20_000
"""Of what is behind them, so many, and how many there are."""
MAX_DEPTH: Final = 8
MAX_TEXT_CHARS: Final = 20_000
"""Of one text; of a longer one the beginning and the end are looked into, and between them each sign counts."""
MAX_STATE_CHARS: Final = 5_000
"""Of all texts in a state, each once, which is read before each call of a tool; what has no room counts as written."""
JSON_BEGINS: Final = ("{", "[", '"')


class Degree(enum.IntEnum):
    """How much of a value counts, where two are compared."""

    WRITTEN = 0
    """All but spaces, capitals, the order of fields, what a result took, and fields that the user names as noise."""
    SAID = 1
    """And but for what is named as an id of a request or as a clock, unless nothing else is there to ask for."""
    UNCOUNTED = 2
    """And but for fields that are named as counters of tries."""
    UNMARKED = 3
    """And but for what looks like an id by chance or like a clock, unless nothing else is there."""
    UNNUMBERED = 4
    """And but for any number, and any such mark also where nothing else is there."""


WRITTEN, SAID, UNCOUNTED, UNMARKED, UNNUMBERED = map(int, Degree)  # an enum costs more than the rest of a part


def read_json(text: str) -> object:
    """What a text says as JSON, where it is an object, an array or a text; the text itself where it is none."""
    if text[:1] in JSON_BEGINS and len(text) <= MAX_TEXT_CHARS:
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text
    return text


class Parts:
    """What counts of one value, piece by piece, each with the highest degree at which it does."""

    __slots__ = (
        "_chars_left",
        "_is_result",
        "_is_state",
        "_names_subject",
        "_number_upto",
        "_opaque",
        "_own",
        "_parts",
        "_subjects",
        "_tells",
        "_texts",
        "_upto",
        "_volatile",
        "left",
        "things",
    )

    def __init__(
        self,
        volatile: AbstractSet[str],
        own: str,
        *,
        is_result: bool = False,
        is_state: bool = False,
        numbers_count: bool = False,
        subjects: AbstractSet[str] = frozenset(),
    ) -> None:
        self.left = MAX_PARTS
        self.things = 0
        """How many are in the lists of a state."""
        self._parts: list[tuple[int, str]] = []
        """One behind the other; joined once, since that is the dearest of all."""
        self._tells = is_state  # one that is but a clock is nothing new
        """Whether anything is left that is no mark."""
        self._upto = UNNUMBERED
        """The highest degree at which what is looked at counts, as long as that is inside of a field that is noise."""
        self._opaque = 0
        """How many could not be looked into."""
        self._own = own
        self._volatile = volatile
        self._is_result = is_result
        self._is_state = is_state
        self._number_upto = UNNUMBERED if numbers_count else UNMARKED
        """The highest degree at which numbers count that no list in a state has."""
        self._chars_left = MAX_STATE_CHARS
        self._texts: dict[str, tuple[list[tuple[int, str]], bool]] = {}
        """Those of a state that were looked into: a history has the same ones again and again."""
        self._subjects = subjects
        self._names_subject = False
        """Whether what is looked at says what a call is about, so that an id there is no noise."""

    def numbers(self, degrees: Sequence[int]) -> list[int]:
        """The numbers of all that was added, at these degrees."""
        parts = self._parts
        added_at = {degree for degree, _ in parts}
        found: dict[int, int] = {}
        numbers: list[int] = []
        for degree in degrees:
            if degree == UNMARKED and not self._tells:
                degree = UNCOUNTED  # nothing would be left that tells it from another one
            while degree not in added_at:  # alike to the next degree as well
                degree += 1
            if degree not in found:
                said = "\0".join([text for upto, text in parts if upto >= degree]).encode(errors="surrogatepass")
                found[degree] = int.from_bytes(blake2b(said, digest_size=5).digest(), "big")
            numbers.append(found[degree])
        return numbers

    def add(self, degree: int, text: str) -> None:
        upto = self._upto
        self._parts.append((degree if degree < upto else upto, text))

    def feed(self, value: object, depth: int) -> None:
        self.left -= 1
        cls = type(value)
        if cls is str:
            self._text(value, depth)  # type: ignore[arg-type] # it is one
        elif cls is int:
            self._number(value)  # type: ignore[arg-type] # it is one
        elif cls is bool or value is None:
            self._leaf(f"n{value!r}")
        elif isinstance(value, BaseModel):
            self._fields(cls.__qualname__, list(value.__dict__.items()), depth)
        else:
            self._others(value, depth)

    def _others(self, value: object, depth: int) -> None:
        match value:
            case enum.Enum():
                self._leaf(f"e{value.name}")
            case int() | float():
                self._number(int(value) if isinstance(value, float) and value.is_integer() else value)
            case str():
                self._text(str(value), depth)
            case bytes() | bytearray():
                self._leaf(f"b{bytes(value[:MAX_TEXT_CHARS])!r}{len(value)}")
            case date() | UUID() | Decimal() | PurePath():
                self._text(str(value), depth)
            case time() | timedelta():
                self._leaf(str(value))
            case Mapping():
                fields = [(str(key), each) for key, each in islice(value.items(), MAX_PARTS + MAX_WRITTEN)]
                if len(fields) < len(value):
                    self._leaf(f"m{len(value)}")
                self._fields("", sorted(fields, key=itemgetter(0)), depth)
            case AbstractSet():
                # Their order says nothing, and differs between processes.
                written = islice(value, MAX_PARTS + MAX_WRITTEN)
                self._items(sorted(_number(each, self._volatile, self._own) for each in written), depth)
            case Sequence():
                self._items(value, depth)
            case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
                names = [field.name for field in dataclasses.fields(value)]
                self._fields(type(value).__qualname__, [(each, getattr(value, each, None)) for each in names], depth)
            case _ if self._own and package_of(value) == self._own and hasattr(value, "__dict__"):
                self._fields(type(value).__qualname__, list(vars(value).items()), depth)
            case _:
                self._opaque += 1
                self._leaf(_opaque(value))

    def _leaf(self, text: str) -> None:
        self._told()
        self.add(UNNUMBERED, text)

    def _told(self) -> None:
        self._tells = self._tells or self._upto >= UNMARKED

    def _number(self, value: float) -> None:
        if noise.is_moment(value) and not self._names_subject:
            self.add(UNCOUNTED, f"n{value!r}")
        else:
            self._told()
            self.add(self._number_upto, f"n{value!r}")

    def _text(self, text: str, depth: int) -> None:
        known = self._texts.get(text)
        if known is None:
            is_json = text[:1] in JSON_BEGINS and depth < MAX_DEPTH
            if self._is_state and not is_json and "\n" in text and len(text) <= MAX_TEXT_CHARS:
                self._kinds(text.splitlines(), depth + 1)  # such as of a talk that is kept as one text
                return
            if self._is_state:
                if len(text) > self._chars_left:
                    self._leaf(f"t{len(text)}{_digest(text)}")
                    return
                self._chars_left -= len(text)
            if is_json and not isinstance(read := read_json(text), str):
                self.feed(read, depth + 1)
                return
            known = self._said_by(text)
            if self._is_state:
                self._texts[text] = known
        pieces, tells = known
        for degree, piece in pieces:
            self.add(degree, piece)
        if tells:
            self._told()

    def _said_by(self, text: str) -> tuple[list[tuple[int, str]], bool]:
        """What a text says, by degrees, and whether more than marks."""
        pieces: list[tuple[int, str]] = []
        tells = True
        if len(text) > MAX_TEXT_CHARS:
            half = MAX_TEXT_CHARS // 2
            between = _digest(text[half:-half])
            text = f"{text[:half]}…{between}…{text[-half:]}"
        # As models write the same twice: with other spaces, and other capitals.
        plain = " ".join(text.split()).casefold()
        if noise.DIGIT.search(plain) is not None:
            written = noise.without_took(plain) if self._is_result else plain
            said = noise.without_named(written)
            bare = noise.without_marks(said, is_result=self._is_result)
            unmarked = said if self._names_subject else bare
            for degree, finer, coarser in (
                (WRITTEN, written, said),
                (UNCOUNTED, said, unmarked),
                (self._number_upto, unmarked, plain := noise.without_numbers(bare)),
            ):
                if finer != coarser:
                    pieces.append((degree, f"t{finer}"))
            tells = bool(unmarked.strip())
        pieces.append((UNNUMBERED, f"t{plain}"))
        return pieces, tells

    def _fields(self, of: str, fields: list[tuple[str, object]], depth: int) -> None:
        told: list[tuple[str, object]] = []
        counters: list[tuple[str, object]] = []
        ids: list[tuple[str, object]] = []
        clocks: list[tuple[str, object]] = []
        for name, each in fields:
            plain = noise.plain_name(name)
            if self._is_surely_noise(name, plain):
                continue
            if plain in noise.ID_NAMES:
                ids.append((name, each))
            elif plain in noise.VOLATILE_NAMES or noise.is_clock(plain, each):
                clocks.append((name, each))
            elif type(each) is int and noise.is_counter(plain):
                counters.append((name, each))
            else:
                told.append((name, each))
        if not told:  # then what is asked about is the id, or else the time
            told, ids, clocks = (ids, [], clocks) if ids else (clocks, [], [])
        by_degree = {UNNUMBERED: told, SAID: counters, WRITTEN: [*ids, *clocks]}
        outer = self._upto
        for degree, found in by_degree.items():
            if found or degree == UNNUMBERED:
                self._upto = min(outer, degree)
                self.add(degree, f"f{of}{len(found)}")
                self._fed(found, depth)
        self._upto = outer

    def _is_surely_noise(self, name: str, plain: str) -> bool:
        return plain in self._volatile or name in self._volatile or (self._is_result and noise.is_measured(plain))

    def _fed(self, fields: list[tuple[str, object]], depth: int) -> None:
        for at, (name, each) in enumerate(fields):
            if self.left <= 0 or depth >= MAX_DEPTH:
                self._leaf(_written(fields[at : at + MAX_WRITTEN]))
                return
            self.add(UNNUMBERED, f"k{name}")
            self._names_subject = noise.plain_name(name) in self._subjects
            self.feed(each, depth + 1)
            self._names_subject = False

    def _items(self, items: Sequence[object], depth: int) -> None:
        if self._is_state:
            self._kinds(items, depth)
            return
        self.add(UNNUMBERED, f"l{len(items)}")
        if not items:
            self._told()
        for at, each in enumerate(items):
            if self.left <= 0 or depth >= MAX_DEPTH:
                self._leaf(_behind(items, at))
                return
            self.feed(each, depth + 1)

    def _kinds(self, items: Sequence[object], depth: int) -> None:
        """A list in a state: which kinds of things are in it counts to each degree, how many and in which order not.

        How many counts as well where some can not be looked into: a list of work that others have defined gets shorter.
        """
        begin, kinds, tells, opaque = len(self._parts), set[str](), self._tells, self._opaque
        self.things += len(items)
        self.add(UNMARKED, f"l{len(items)}")
        for at, each in enumerate(items):
            if self.left <= 0 or depth >= MAX_DEPTH:
                kinds.add(_behind(items, at))
                break
            first, self._tells = len(self._parts), False
            self.feed(each, depth + 1)
            degree = UNMARKED if self._tells else UNCOUNTED  # what is but an id is told apart by it
            kinds.add("\0".join([text for upto, text in self._parts[first:] if upto >= degree]))
        if self._opaque > opaque:
            kinds.add(f"l{len(items)}")
        self._tells = tells
        self._parts[begin:] = [(min(upto, UNMARKED), text) for upto, text in self._parts[begin:]]
        self.add(UNNUMBERED, "\1".join(sorted(kinds)))


def package_of(value: object) -> str:
    """The package from which the class of a value comes."""
    return type(value).__module__.partition(".")[0]


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="surrogatepass"), digest_size=8).hexdigest()


def _number(value: object, volatile: AbstractSet[str] = frozenset(), own: str = "") -> int:
    """The number of all that is written in one of a set."""
    parts = Parts(volatile, own)
    parts.feed(value, 0)
    return parts.numbers((WRITTEN,))[0]


def _behind(items: Sequence[object], at: int) -> str:
    """What stands behind the items that are looked into."""
    return _written(list(islice(items, at, at + MAX_WRITTEN)))


def _written(values: Sequence[object]) -> str:
    """Values as they are written, at the speed of C: a change among them is seen, and one that says nothing is, too."""
    try:
        return f"w{json.dumps(values, default=_fields_of, skipkeys=True)}"
    except (ValueError, RecursionError):  # they hold themselves, or are nested without end
        return f"w{len(values)}"


def _fields_of(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.__dict__
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return sorted(map(_number, islice(value, MAX_PARTS)))
    if isinstance(value, enum.Enum | datetime | bytes | bytearray):
        return repr(value)
    return list(value) if isinstance(value, Sequence) else _opaque(value)


def _opaque(value: object) -> str:
    return f"o{type(value).__qualname__} {_size(value)}"


def _size(value: object) -> int:
    """How many are in it, where it says so: a queue that grows shorter is a state that changes."""
    for name in ("__len__", "qsize"):
        counted = getattr(type(value), name, None)
        if counted is not None:
            return int(counted(value))
    return 0
