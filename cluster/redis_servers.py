"""Which server a call of the journal goes to: the only one, or in a cluster the one that has its slot."""

from __future__ import annotations

from typing import Any, Protocol

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

Address = tuple[str, int]
"""Host and port of a server in a cluster."""


class Server(Protocol):
    """One server, with connections to it."""

    async def take(self) -> AbstractConnection:
        """A connection that nobody else uses until it is given back; it connects when it is written to."""
        ...

    async def give_back(self, connection: AbstractConnection) -> None:
        """Ends the use of a connection, whatever became of it."""
        ...


class _Only:
    def __init__(self, client: Redis) -> None:
        self._pool: Any = client.connection_pool

    async def take(self) -> AbstractConnection:
        connection: AbstractConnection = await self._pool.get_connection()
        return connection

    async def give_back(self, connection: AbstractConnection) -> None:
        await self._pool.release(connection)


class _Node:
    def __init__(self, node: Any) -> None:
        self.node = node

    async def take(self) -> AbstractConnection:
        connection: AbstractConnection = self.node.acquire_connection()
        await connection.disconnect(nowait=True)  # one that was left here may be dead, and nothing tells that
        return connection

    async def give_back(self, connection: AbstractConnection) -> None:
        self.node.release(connection)


class RedisServers:
    """The servers behind one client."""

    def __init__(self, client: Redis | RedisCluster) -> None:
        self._client = client
        self._nodes: dict[str, _Node] = {}
        self._only = _Only(client) if isinstance(client, Redis) else None
        self.known = True
        """False where a cluster is to be asked anew which server has what; `versions` does."""

    async def versions(self) -> list[str]:
        """Those of all servers that take writes, which a cluster is asked for anew after `forget`."""
        if isinstance(self._client, Redis):
            told: Any = await self._client.info("server")
            return [str(told.get("redis_version", ""))]
        client: Any = self._client
        if not self.known:  # only now, since it ends connections that others may have been using
            await client.aclose()
            self._nodes.clear()
        await client.initialize()
        self.known = True
        # One by one: what comes back of several at once has another shape than what comes of one.
        told = [await client.info("server", target_nodes=node) for node in client.get_primaries()]
        return [str(of_one.get("redis_version", "")) for of_one in told]

    def server_of(self, key: bytes, asked: Address | None) -> Server:
        """The server that has the key; `asked` is where the former one sent us for this call alone.

        Raises SlotNotCoveredError where no server of the cluster has it.
        """
        if self._only is not None:
            return self._only
        client: Any = self._client
        node = client.get_node(*asked) if asked else None
        if node is None:  # also where a cluster that was asked anew has it no more
            node = client.nodes_manager.get_node_from_slot(key_slot(key))
        known = self._nodes.get(node.name)
        if known is None or known.node is not node:  # a cluster that was asked anew has nodes anew
            known = self._nodes[node.name] = _Node(node)
        return known

    async def redirected(self, error: MovedError | AskError) -> Address | None:
        """Learns from a server that is the wrong one; the address to ask once where the slot is only on its way."""
        client: Any = self._client
        if isinstance(error, AskError) and client.get_node(error.host, error.port) is not None:
            return error.host, error.port
        if isinstance(error, MovedError):
            await client.nodes_manager.move_slot(error)
        else:
            self.forget()
        return None

    def forget(self) -> None:
        """Says that one of the servers did not answer, or is not known."""
        self.known = self._only is not None
