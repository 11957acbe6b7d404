"""Whether a Ray listens at an address, found out within seconds. Needs no Ray.

Ray itself waits two and a half minutes for whatever is there, in native code that no signal interrupts.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

from regrow.cluster.config import RaySettings

VARIABLE = "RAY_ADDRESS"
ANSWER_S = 3.0
"""How long the head of a Ray may take to answer at all; a stopped one never does."""

# RFC 9113, 3.4: a client begins with this preface and its settings, and a server's first frame is its settings.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
_FRAME_HEAD_BYTES = 9
_SETTINGS = 4


@dataclass(frozen=True, slots=True)
class RayAddress:
    """Where a Ray of others runs, and what says so."""

    text: str
    said_by: str


def ray_address(settings: RaySettings) -> RayAddress | None:
    """The address of the config, or else of RAY_ADDRESS; None when a Ray is to be started here."""
    if settings.address:
        return RayAddress(settings.address, "ray.address")
    said = os.environ.get(VARIABLE)
    return RayAddress(said, VARIABLE) if said else None


def trouble(address: RayAddress) -> str:
    """What is wrong at an address, with what to do; empty where a Ray answers, or where only Ray can look.

    Blocks for at most ANSWER_S for each of connecting and answering.
    """
    host, _, port = address.text.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return ""  # `auto` and the like are looked up by Ray
    advice = f"start one with `ray start --head`, or correct {address.said_by}"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return ""
            connection.sendall(_PREFACE)
            head = _read(connection)
    except TimeoutError:
        return f"what listens at {address.text!r} gave no answer within {ANSWER_S:g} s; {advice}"
    except (OSError, OverflowError) as error:
        return f"no Ray answers at {address.text!r} ({error}); {advice}"
    if len(head) < _FRAME_HEAD_BYTES or head[3] != _SETTINGS:
        return f"what listens at {address.text!r} is no Ray; {advice}"
    return ""


def _read(connection: socket.socket) -> bytes:
    """The head of the first frame, or less if the other side ends before."""
    head = b""
    while len(head) < _FRAME_HEAD_BYTES and (more := connection.recv(_FRAME_HEAD_BYTES - len(head))):
        head += more
    return head
