"""The scripts of the journal as Redis gets them: text, digest, and the names of the keys that each is given.

They lie beside this file in `journal_*.lua`. A file holds several, each below a line `--- name: keys | more keys`; a
last name with a star, as `marks*`, is a list of all keys from there on. What stands above the first belongs to all of
them, and what stands in `journal_shared.lua` to all files.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

_PARTS: Final = ("hosts", "mailbox", "turns", "recovery")
_SECTION: Final = re.compile(r"^--- (\w+): ([\w* |]+)\n", flags=re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Script:
    """One script with the digest by which a server knows it.

    `keys` are those that it is always given, without those of a list; `more` are given only when needed.
    """

    name: str
    text: str
    sha: str
    keys: tuple[str, ...]
    more: tuple[str, ...]

    def framed(self, keys: Sequence[bytes], payload: bytes, *, whole: bool = False) -> bytes:
        """The call in Redis' protocol; `whole` for a server that does not know the script, and does from then on."""
        named = (b"EVAL", self.text.encode()) if whole else (b"EVALSHA", self.sha.encode())
        return framed(*named, b"%d" % len(keys), *keys, payload)


def framed(*parts: bytes) -> bytes:
    """A command in Redis' protocol. redis-py takes longer to write a commit than Redis to run it."""
    return b"".join([b"*%d\r\n" % len(parts), *[b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]])


def _loaded() -> Iterator[Script]:
    def read(part: str) -> str:
        return (files("regrow.cluster") / f"journal_{part}.lua").read_text("utf-8")

    shared = read("shared")
    for part in _PARTS:
        head, *sections = _SECTION.split(read(part))
        for name, listed, body in zip(sections[::3], sections[1::3], sections[2::3], strict=True):
            always, _, more = listed.partition("|")
            named = _names((*always.split(), *more.split()))
            keys = tuple(key for key in always.split() if not key.endswith("*"))
            text = f"{named}\n{shared}\n{head}\n{body}"
            yield Script(
                name, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), keys, tuple(more.split())
            )


def _names(keys: Sequence[str]) -> str:
    """The first line of a script. What it does not name is unknown to it, so that touching any other key fails."""
    places = [f"{{unpack(KEYS, {n})}}" if key.endswith("*") else f"KEYS[{n}]" for n, key in enumerate(keys, 1)]
    return f"local {', '.join(keys).replace('*', '')} = {', '.join(places)}"


SCRIPTS: Final = {script.name: script for script in _loaded()}
"""All of them by name: one for each contract of the port."""
