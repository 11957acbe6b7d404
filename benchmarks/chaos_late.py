"""What a dead process had wanted to say to Redis, said late: past the app, when another process serves its agent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic

from chaos_plans import verdict_in
from msgpack import unpackb
from redis import Redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisError
from resp import Frames, parts

ANSWER_WITHIN_S = 10.0
LATE_LIMIT_S = 60.0
"""For Redis to say something to a late script: longer than it is stopped, loads its data, or has no room."""
LOOK_S = 0.1
CHUNK_BYTES = 65_536


def sent_late(raw: bytes, redis_at: Path) -> bytes:
    """What the Redis at that socket answers to a script that was kept; nothing where it hangs up.

    On a connection of its own. Blocks. Raises OSError while there is no Redis, and TimeoutError, which is one, where it
    says nothing.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(ANSWER_WITHIN_S)
        connection.connect(str(redis_at))
        connection.sendall(raw)
        frames = Frames()
        while data := connection.recv(CHUNK_BYTES):
            if replies := frames.feed(data):
                return replies[0]
    return b""


async def verdict_on_late(send: Callable[[], bytes], *, pause_s: float = LOOK_S) -> str:
    """What Redis says to a late script; it is sent again while another fault keeps Redis from saying anything."""
    deadline = monotonic() + LATE_LIMIT_S
    while True:
        answer = b""
        with suppress(OSError):  # it is killed, or stopped; TimeoutError is one of these
            answer = await asyncio.to_thread(send)
        if verdict := verdict_in(answer):
            return verdict
        if monotonic() > deadline:
            return repr(answer[:40])
        await asyncio.sleep(pause_s)


async def was_done(opened: Callable[[], Redis | RedisCluster], commit: bytes) -> bool:
    """`is_done` by a client of its own, once Redis answers. Raises RedisError where it does not for long."""

    def look() -> bool:
        with opened() as client:
            return is_done(client, commit)

    deadline = monotonic() + LATE_LIMIT_S
    while True:
        try:
            return await asyncio.to_thread(look)
        except RedisError:
            if monotonic() > deadline:
                raise
        await asyncio.sleep(LOOK_S)


def is_done(client: Redis | RedisCluster, commit: bytes) -> bool:
    """Whether the journal has done this very commit: its process had sent it before, and had no answer.

    Then the mark of the message that the commit is about names its operation.
    """
    _, _, number, *words = parts(commit)
    kept = client.get(_mark_in(words[: int(number)]))
    return kept is not None and unpackb(kept, raw=True)[1] == unpackb(words[int(number)], raw=True)[b"op"]


def first_key(script: bytes) -> bytes:
    """The first key of a call of a script; all of them lie in one slot."""
    return parts(script)[3]


def _mark_in(keys: list[bytes]) -> bytes:
    return next(key for key in keys if key.partition(b"}:")[2].startswith(b"mark:"))
