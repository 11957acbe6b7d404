"""A Redis Cluster of three masters for a chaos run, each behind a port of the proxy, and slots that move among them.

The masters tell everybody the ports of the proxy as their own, so that clients pass through it also where a slot has
moved; among themselves they use their real ports.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from chaos_late import first_key, sent_late
from chaos_log import Spoilt
from chaos_proxy import LOOPBACK, Door, RedisProxy
from chaos_redis import END_LIMIT_S, ChaosServer
from pydantic import SecretStr
from redis.asyncio import RedisCluster as AsyncRedisCluster
from redis.cluster import RedisCluster
from redis.crc import key_slot
from redis.exceptions import RedisError

from regrow.cluster.config import RedisSettings
from regrow.cluster.redis_journal import RedisJournal

MASTERS = 3
SLOTS = 16_384
BUS = 10_000
"""How much higher the port of a server's cluster bus is."""
LOWEST_PORT, HIGHEST_PORT = 10_000, 22_000
"""With those of the bus, all below the ports that the kernel gives to connections."""
NODE_TIMEOUT_MS = 2_000
"""After that they find another one failed, and none serves until it is back: of one that is stopped past the lease."""
FORM_LIMIT_S = 60.0
MOVE_LIMIT_S = 30.0
LOOK_S = 0.05
BATCHES = 50
"""In so many parts the keys of a slot move, with pauses between them: scripts meet it while each master has some."""
BATCH_PAUSE_S = 0.01
MIGRATE_TIMEOUT_MS = 10_000


@dataclass(slots=True)
class _Master:
    server: ChaosServer
    port: int
    door: int
    id: str = ""

    def do(self, *words: object) -> Any:
        """What it answers. Blocks. Raises RedisError."""
        with self.server.client() as client:
            return client.execute_command(*words)


class ChaosCluster:
    """Three masters, without replicas. None of them keeps anything that another one has."""

    def __init__(self, folder: Path) -> None:
        """The folder is there."""
        ports = _free_ports(2 * MASTERS)
        self._masters = [
            _Master(ChaosServer(folder / f"redis-{port}", _settings(port, door)), port, door)
            for port, door in zip(ports[:MASTERS], ports[MASTERS:], strict=True)
        ]
        self._owners = [slot * MASTERS // SLOTS for slot in range(SLOTS)]
        """By slot, the place of its master."""
        doors: Mapping[Door, Path] = {master.door: master.server.socket for master in self._masters}
        self.servers: tuple[ChaosServer, ...] = tuple(master.server for master in self._masters)
        self.proxy = RedisProxy(doors)

    @property
    def settings(self) -> RedisSettings:
        """See ChaosStore."""
        return RedisSettings(url=SecretStr(f"redis://{LOOPBACK}:{self._masters[0].door}/0"), cluster=True)

    async def start(self) -> None:
        """See ChaosStore."""
        self.proxy.start()
        await asyncio.gather(*(master.server.start() for master in self._masters))
        await asyncio.to_thread(self._form)

    def client(self) -> RedisCluster:
        """See ChaosStore."""
        first = self._masters[0]
        return RedisCluster(
            host=LOOPBACK, port=first.port, socket_timeout=END_LIMIT_S, address_remap=self._past_the_proxy
        )

    def journal(self, app: str) -> RedisJournal:
        """See ChaosStore."""
        client = AsyncRedisCluster(
            host=LOOPBACK,
            port=self._masters[0].port,
            socket_timeout=END_LIMIT_S,
            address_remap=self._past_the_proxy,
            protocol=2,
        )
        return RedisJournal(client, app=app, address="the cluster")

    def send_late(self, script: bytes) -> bytes:
        """See ChaosStore."""
        return sent_late(script, self._masters[self._owners[key_slot(first_key(script))]].server.socket)

    async def move(self, key: str, dice: random.Random) -> None:
        """Moves the slot of a key to another master, a few keys at a time. Raises RedisError, TimeoutError."""
        slot = key_slot(key.encode())
        owner = self._owners[slot]
        target = dice.choice([number for number in range(MASTERS) if number != owner])
        await asyncio.to_thread(self._hand_over, slot, self._masters[owner], self._masters[target])
        self._owners[slot] = target

    def close(self) -> None:
        """See ChaosStore."""
        self.proxy.stop()
        for server in self.servers:
            server.close()

    # ---- inside, all of which blocks ---------------------------------------------------------------

    def _form(self) -> None:
        for number, master in enumerate(self._masters):
            master.id = master.do("CLUSTER MYID").decode()
            master.do("CLUSTER ADDSLOTS", *(slot for slot in range(SLOTS) if self._owners[slot] == number))
            master.do("CLUSTER SET-CONFIG-EPOCH", number + 1)
        for master in self._masters[1:]:
            self._masters[0].do("CLUSTER MEET", LOOPBACK, master.port, master.port + BUS)
        _wait_until("the cluster is formed", lambda: all(map(self._serves, self._masters)), within_s=FORM_LIMIT_S)

    def _serves(self, master: _Master) -> bool:
        """Whether it says that all slots are served, and names the ports of the proxy alone."""
        told: dict[str, str] = master.do("CLUSTER INFO")
        named = {int(port) for _, _, (_, port, *_) in master.do("CLUSTER SLOTS")}
        return told["cluster_state"] == "ok" and named == {master.door for master in self._masters}

    def _past_the_proxy(self, address: tuple[str, int]) -> tuple[str, int]:
        host, port = address
        return host, next((master.port for master in self._masters if master.door == port), port)

    def _hand_over(self, slot: int, source: _Master, target: _Master) -> None:
        deadline = monotonic() + MOVE_LIMIT_S
        _surely(deadline, target, "CLUSTER SETSLOT", slot, "IMPORTING", source.id)
        _surely(deadline, source, "CLUSTER SETSLOT", slot, "MIGRATING", target.id)
        batch = 1 + _surely(deadline, source, "CLUSTER COUNTKEYSINSLOT", slot) // BATCHES
        while keys := _surely(deadline, source, "CLUSTER GETKEYSINSLOT", slot, batch):
            _surely(deadline, source, "MIGRATE", LOOPBACK, target.port, "", 0, MIGRATE_TIMEOUT_MS, "KEYS", *keys)
            time.sleep(BATCH_PAUSE_S)
        others = [master for master in self._masters if master not in (source, target)]
        for master in (target, source, *others):
            _surely(deadline, master, "CLUSTER SETSLOT", slot, "NODE", target.id)


def _settings(port: int, door: int) -> list[str]:
    return [
        f"port {port}",
        f"bind {LOOPBACK}",
        "cluster-enabled yes",
        f"cluster-node-timeout {NODE_TIMEOUT_MS}",
        f"cluster-announce-ip {LOOPBACK}",
        f"cluster-announce-port {door}",
        f"cluster-announce-bus-port {port + BUS}",
    ]


def _surely(deadline: float, master: _Master, *words: object) -> Any:
    """What it answers, asked again while it refuses: a slot that were left between two masters would serve nobody."""
    while True:
        try:
            return master.do(*words)
        except RedisError as error:
            if monotonic() > deadline:
                raise Spoilt(f"a slot could not be moved within {MOVE_LIMIT_S:g} s: {error}") from error
        time.sleep(LOOK_S)


def _wait_until(what: str, holds: Callable[[], bool], *, within_s: float) -> None:
    deadline = monotonic() + within_s
    while not holds():
        if monotonic() > deadline:
            raise SystemExit(f"{what}: not within {within_s:g} s")
        time.sleep(LOOK_S)


def _free_ports(number: int) -> list[int]:
    """Ports that nobody has, with those of their buses; by chance, so that a run beside this one draws others."""
    found: list[int] = []
    for port in random.SystemRandom().sample(range(LOWEST_PORT, HIGHEST_PORT), HIGHEST_PORT - LOWEST_PORT):
        if _is_free(port) and _is_free(port + BUS):
            found.append(port)
        if len(found) == number:
            return found
    raise SystemExit(f"no {number} free ports between {LOWEST_PORT} and {HIGHEST_PORT}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
