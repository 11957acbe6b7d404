"""The peer of durable turns: the very commit script of the journal, sent by hand, and nothing else.

Who sends it has the mailboxes filled beforehand, writes the same state, result and history as an agent does, and
takes its next commit from a counter. Commits of many agents are pipelined: one write, then one read for each.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import hiredis
import msgpack
from payload import SOURCE, TEXT, TOPIC
from pydantic import BaseModel

from regrow.cluster.journal_scripts import SCRIPTS, framed
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.address import ActorId
from regrow.runtime.command_ids import uuid7
from regrow.runtime.journal_entries import (
    CommandId,
    Epoch,
    Incoming,
    JournalLimits,
    OperationId,
    born_ms,
    partition_of,
)

APP = "bare"
LEASE_MS = 600_000
READ_BYTES = 262_144
BODY = b"x" * 250
ABOUT = (
    '{"life":1,"from":"ledger/driver","type":"durable_work:Entry","fields":{"seq":0,"source":"'
    f'{SOURCE}","topic":"{TOPIC}","text":"{TEXT}"}},"steps":[],"cut":false}}'
).encode()


@dataclass(slots=True)
class _Agent:
    """One agent whose messages are committed: its keys, and what its next commit needs to know."""

    id: ActorId
    keys: dict[str, bytes]
    epoch: Epoch
    version: int
    commands: list[CommandId]


class BareCommits:
    """Commits of as many agents as are named, on a connection of its own."""

    def __init__(self, url: str, agents: int, state: BaseModel) -> None:
        self._url = url
        self._state = state
        self._limits = JournalLimits()
        # Of this peer alone: who else has claimed an agent would have to be revoked first.
        self._ids = [ActorId(f"bare/{secrets.token_hex(4)}-{number}") for number in range(agents)]
        self._agents: list[_Agent] = []
        self._packer = msgpack.Packer(use_bin_type=False)
        self._number = 0
        self._socket = connected(url)
        self._reader = hiredis.Reader()
        told(url, [b"SCRIPT", b"LOAD", SCRIPTS["commit"].text.encode()])

    def close(self) -> None:
        """Lets go of its connection."""
        self._socket.close()

    async def fill(self, each: int, now_ms: int) -> None:
        """Claims the agents on first use, and fills the mailbox of each; not timed."""
        journal = RedisJournal.from_url(self._url, app=APP)
        try:
            if not self._agents:
                host = await journal.new_host_epoch()
                await journal.renew(host, ttl_ms=LEASE_MS)
                for id in self._ids:
                    row = await journal.read(id)
                    claim = await journal.claim(id, host, previous=row.owner, operation=OperationId(f"claim-{id}"))
                    self._agents.append(_Agent(id, _keys(id), claim.row.epoch, claim.row.version, []))
            for agent in self._agents:
                self._number += each
                agent.commands = [uuid7(now_ms, self._number * 4_096 + each_of) for each_of in range(each)]
                for first in range(0, each, 100):
                    some = agent.commands[first : first + 100]
                    await journal.enqueue([Incoming(agent=agent.id, command=id, body=BODY) for id in some])
        finally:
            await journal.aclose()

    def drained(self, each: int) -> float:
        """Commits all that is in the mailboxes, one of each agent at a time; the seconds that it takes.

        An agent's next commit leaves with those of all others whose answers have come in the same read, as it does
        where agents commit: nobody waits for a whole round.
        """
        begun = perf_counter()
        underway = deque((agent, 0) for agent in self._agents)
        self._socket.sendall(b"".join([self._commit(agent, 0) for agent in self._agents]))
        while underway:
            self._reader.feed(self._socket.recv(READ_BYTES))
            next_commits: list[bytes] = []
            while (reply := self._reader.gets()) is not False:
                _check(reply)
                agent, turn = underway.popleft()  # a server answers in the order in which it was asked
                if turn + 1 < each:
                    next_commits.append(self._commit(agent, turn + 1))
                    underway.append((agent, turn + 1))
            self._socket.sendall(b"".join(next_commits))
        return perf_counter() - begun

    def one_by_one(self, each: int) -> list[float]:
        """The same with the first agent only; the milliseconds of each commit."""
        took_ms: list[float] = []
        for turn in range(each):
            begun = perf_counter()
            self._socket.sendall(self._commit(self._agents[0], turn))
            while (reply := self._reader.gets()) is False:
                self._reader.feed(self._socket.recv(READ_BYTES))
            _check(reply)
            took_ms.append((perf_counter() - begun) * 1e3)
        return took_ms

    def _commit(self, agent: _Agent, turn: int) -> bytes:
        command = agent.commands[turn]
        limits, script = self._limits, SCRIPTS["commit"]
        payload = {
            "agent": agent.id,
            "epoch": agent.epoch,
            "command": command,
            "op": command[-12:],
            "version": agent.version,
            "since": born_ms(command),
            "about": ABOUT,
            "turns": limits.history_turns,
            "turns_ttl": limits.history_ttl_ms,
            "state": self._state.model_dump_json(),
            "schema": 1,
            "outcome": "committed",
            "changes": True,
            "result": b"\xc0",
            "ttl": limits.result_ttl_ms,
            "born": born_ms(command),
        }
        agent.version += 1
        ends = {"mark": command, "steps": command}
        keys = [agent.keys[name] + ends.get(name, "").encode() for name in script.keys]
        return script.framed(keys, self._packer.pack(payload))


def _check(reply: Any) -> None:
    if isinstance(reply, hiredis.ReplyError):
        raise RuntimeError(f"a bare commit failed: {reply}")
    verdict, *_ = msgpack.unpackb(reply, raw=True)
    if verdict != b"done":
        raise RuntimeError(f"a bare commit was answered with {verdict}")


def connected(url: str) -> socket.socket:
    """A connection to the server of that URL, logged in."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if parts.password:
        connection.sendall(framed(b"AUTH", parts.password.encode()))
        if (said := connection.recv(READ_BYTES)) != b"+OK\r\n":
            raise RuntimeError(f"Redis refused the password: {said.decode(errors='replace')}")
    return connection


def told(url: str, *commands: Sequence[bytes]) -> list[Any]:
    """What a server answers to some commands of its own language."""
    with connected(url) as connection:
        reader = hiredis.Reader()
        answers: list[Any] = []
        connection.sendall(b"".join(framed(*command) for command in commands))
        while len(answers) < len(commands):
            reply: Any = reader.gets()
            if reply is False:
                reader.feed(connection.recv(READ_BYTES))
            else:
                answers.append(reply)
        return answers


def _keys(agent: ActorId) -> dict[str, bytes]:
    """As `journal_calls` makes them."""
    part = f"regrow:{APP}:{{{partition_of(agent)}}}:"
    own = {name: f"{part}{name}:{agent}".encode() for name in ("row", "mail", "notes", "past")}
    each = {name: f"{part}{name}:{agent}\0".encode() for name in ("mark", "steps")}
    return {**own, **each, "ready": f"{part}ready".encode()}
