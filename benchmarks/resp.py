"""Where calls and replies in Redis' protocol begin and end in what comes over a connection."""

from __future__ import annotations

from dataclasses import dataclass

END = b"\r\n"
COLLECTIONS = b"*%~>"
STRINGS = b"$=!"


class NotResp(Exception):
    """What came is no call or reply of Redis' protocol."""


@dataclass(slots=True)
class Frames:
    """Cuts what comes into whole calls or replies, each as it came."""

    _held: bytes = b""

    def feed(self, data: bytes) -> list[bytes]:
        """All that are whole by now. Raises NotResp."""
        held = self._held + data if self._held else data
        found: list[bytes] = []
        start = 0
        while (end := _end(held, start)) is not None:
            found.append(held[start:end])
            start = end
        self._held = held[start:]
        return found


def parts(call: bytes) -> list[bytes]:
    """The words of a call, as `Frames` gave it."""
    found: list[bytes] = []
    at = call.index(END) + 2
    while at < len(call):
        line = call.index(END, at)
        size = int(call[at + 1 : line])
        found.append(call[line + 2 : line + 2 + size])
        at = line + 2 + size + 2
    return found


def _end(data: bytes, at: int) -> int | None:
    """Where the value that begins there ends; None where it is not whole yet."""
    line = data.find(END, at)
    if line < 0:
        return None
    kind, after = data[at], line + 2
    if kind in b"+-:_#,(":
        return after
    try:
        size = int(data[at + 1 : line])
    except ValueError:
        raise NotResp(f"{data[at : at + 40]!r} is no value of Redis' protocol") from None
    if kind in STRINGS:
        end = after + size + 2 if size >= 0 else after
        return end if len(data) >= end else None
    if kind in COLLECTIONS:
        for _ in range(max(size, 0) * (2 if kind == ord("%") else 1)):
            end_of_item = _end(data, after)
            if end_of_item is None:
                return None
            after = end_of_item
        return after
    raise NotResp(f"{data[at : at + 40]!r} is no value of Redis' protocol")
