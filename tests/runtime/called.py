"""Calls of a Transport, for tests that await them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from regrow.runtime.address import HostId
    from regrow.runtime.transport import CallEnd, Transport


async def called(transport: Transport, host: HostId, packet: bytes) -> bytes | None:
    """What came back. Raises PeerLost and PeerDead."""
    ended: asyncio.Future[CallEnd] = asyncio.get_running_loop().create_future()
    transport.call(host, packet, ended.set_result)
    end = await ended
    if isinstance(end, Exception):
        raise end
    return end
