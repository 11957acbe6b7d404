"""Runs the scripts of the journal: each call goes to the server that has its keys, and what fails is named.

A call that meets a server which can not serve it, because its slot has moved or its scripts were dropped, is sent
again. Nothing else is: what may have been done is for the caller to repeat under its id.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgpack
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import AskError, MovedError, NoScriptError, RedisError

from regrow.cluster.journal_refusals import check_version, cut, named
from regrow.cluster.journal_scripts import SCRIPTS
from regrow.cluster.redis_lane import Call, RedisLane
from regrow.cluster.redis_servers import RedisServers, Server
from regrow.runtime.errors import Bug, Closed, RegrowError
from regrow.runtime.journal_errors import JournalAway, JournalOutdated, JournalUnknown

LIMIT_CALLS: Final = 16_384
"""How many calls may wait for a server; each belongs to a caller who waits for it, so this many are a fault."""

LIMIT_ROUNDS: Final = 8
"""How often a call is sent where servers lose scripts or their slots move, before its caller is told."""


class RedisScripts:
    """The scripts on one Redis or Redis Cluster. It owns the client and closes it. For one event loop."""

    def __init__(self, client: Redis | RedisCluster, *, address: str, replicas: int = 0) -> None:
        """`client` must not decode responses and must not retry. No answer comes before `replicas` have it too."""
        self._client = client
        self._servers = RedisServers(client)
        self._replicas = replicas
        self._address = address
        self._packer = msgpack.Packer(use_bin_type=False)
        self._queue: deque[Call] = deque()
        self._lanes: dict[Server, RedisLane] = {}
        self._sent_on: deque[tuple[Call, MovedError | AskError]] = deque()
        """Calls that another server must be asked."""
        self._is_flushing = False
        self._working: asyncio.Task[None] | None = None
        """What looks for the servers, or follows a slot; meanwhile calls wait."""
        self._ready = False
        self._closed = False
        self._refused: RegrowError | None = None

    async def run(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> list[Any]:
        """What the script answers. Raises JournalUnknown or a JournalRefused."""
        return await self.submit(name, keys, payload)

    def submit(self, name: str, keys: Sequence[bytes], payload: dict[str, Any]) -> asyncio.Future[list[Any]]:
        """The answer to come of a call that leaves after all that were submitted before it."""
        if self._closed:
            raise Closed("this journal is closed; open another one")
        if self._refused is not None:
            raise self._refused
        if len(self._queue) >= LIMIT_CALLS:
            raise self._too_many()
        # Scripts take what is absent for none or false. An empty list or text is neither.
        given = {name: value for name, value in payload.items() if value is not None and value is not False}
        packed: bytes = self._packer.pack(given)
        call = Call(SCRIPTS[name], keys, packed, asyncio.get_running_loop().create_future())
        self._queue.append(call)
        self._flush_soon()
        return call.answer

    def refuse(self, error: RegrowError) -> None:
        """Lets every further call fail with that error: the store is not what it was."""
        self._refused = error

    async def aclose(self) -> None:
        """Waits for what is under way, and closes the client."""
        self._closed = True
        while self._queue or self._working is not None or any(lane.is_busy for lane in self._lanes.values()):
            if self._working is not None:
                await asyncio.wait([self._working])
            for lane in list(self._lanes.values()):
                await lane.idle()  # a server that says nothing ends its line
            await asyncio.sleep(0)
        for lane in self._lanes.values():
            await lane.aclose()
        await self._client.aclose()

    # ---- sending -------------------------------------------------------------------------------

    def _flush_soon(self) -> None:
        if not self._is_flushing:
            self._is_flushing = True
            # Behind all that is ready now, so what is asked in this round of the loop leaves together.
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._is_flushing = False
        if self._working is not None:
            return
        if not self._ready:
            self._work(self._prepare())
            return
        while self._queue:
            call = self._queue.popleft()
            try:
                server = self._servers.server_of(call.keys[0], call.asked)
            except RedisError as error:
                self._queue.appendleft(call)
                self._unopened(error)
                return
            lane = self._lanes.get(server) or self._new_lane(server)
            if lane.waiting < LIMIT_CALLS:
                lane.submit(call)
            else:
                _fail([call], self._too_many())
        for lane in self._lanes.values():
            lane.pump()

    def _new_lane(self, server: Server) -> RedisLane:
        lane = self._lanes[server] = RedisLane(
            server,
            address=self._address,
            replicas=self._replicas,
            answered=self._answered,
            lost=self._lost,
            unopened=self._unopened,
        )
        return lane

    def _answered(self, call: Call, answer: Any) -> None:
        match answer:
            case bytes():
                if not call.answer.done():  # else its caller gave up
                    call.answer.set_result(msgpack.unpackb(answer, raw=True))
            case NoScriptError() | MovedError() | AskError():
                self._again(call, answer)
            case JournalUnknown():
                _fail([call], answer)
            case BaseException():
                _fail([call], named(answer, self._address))
            case _:
                raise AssertionError(f"a script answers with packed bytes and not with {answer!r}")

    def _lost(self, calls: Iterable[Call], error: BaseException) -> None:
        """A line has ended. What was sent on it may have been done; what was not waits for the next one."""
        _fail(calls, cut(error, self._address))
        self._away()
        if self._queue:
            self._flush_soon()

    def _unopened(self, error: BaseException) -> None:
        self._away()
        self._fail_queue(named(error, self._address))

    def _away(self) -> None:
        """Another server may have the slots of one that does not answer, and be of another version."""
        self._ready = False
        self._servers.forget()
        self._withdraw()

    def _withdraw(self) -> None:
        """Takes back what waits for a server, in its order."""
        waiting = [call for lane in self._lanes.values() for call in lane.withdrawn()]
        self._queue.extendleft(reversed(waiting))

    def _fail_queue(self, error: RegrowError) -> None:
        _fail(self._queue, error)
        self._queue.clear()

    def _too_many(self) -> JournalAway:
        return JournalAway(f"{LIMIT_CALLS} calls wait for {self._address} already; it is too slow for what is sent")

    # ---- what must be found out first ----------------------------------------------------------

    def _work(self, work: Any) -> None:
        self._working = asyncio.get_running_loop().create_task(work, name="regrow-journal")
        self._working.add_done_callback(self._worked)

    def _worked(self, task: asyncio.Task[None]) -> None:
        self._working = None
        if task.cancelled():  # the loop itself ends
            self._fail_queue(JournalUnknown("the journal was ended in the middle of a call"))
        elif (error := task.exception()) is not None:
            fault = Bug("the journal failed to look for its servers; please report it")
            fault.__cause__ = error
            self._fail_queue(fault)
        elif self._sent_on:
            self._work(self._follow())
        elif self._queue:
            self._flush()

    async def _prepare(self) -> None:
        """Finds the servers and checks the version of each."""
        self._withdraw()
        lanes, self._lanes = self._lanes, {}
        for lane in lanes.values():  # a cluster that is asked anew loses its connections
            await lane.idle()
            await lane.aclose()
        try:
            for version in await self._servers.versions():
                check_version(version, address=self._address)
        except (RedisError, OSError, TimeoutError) as error:
            self._fail_queue(named(error, self._address))
            self._away()
        except JournalOutdated as error:
            self._fail_queue(error)
        else:
            self._ready = True

    def _again(self, call: Call, error: NoScriptError | MovedError | AskError) -> None:
        """Sends a call once more, to where its server says that it belongs."""
        call.sent += 1
        if call.sent >= LIMIT_ROUNDS:
            _fail(
                [call],
                JournalAway(f"{self._address} moves what it has, or loses its scripts again and again; ask later"),
            )
            return
        if isinstance(error, NoScriptError):
            for lane in self._lanes.values():
                lane.forget_script(call.script.name)
            self._queue.append(call)
            self._flush_soon()
            return
        self._sent_on.append((call, error))
        if self._working is None:
            self._work(self._follow())

    async def _follow(self) -> None:
        while self._sent_on:
            call, error = self._sent_on.popleft()
            try:
                call.asked = await self._servers.redirected(error)
            except (RedisError, OSError, TimeoutError) as failed:
                _fail([call], named(failed, self._address))
                self._away()
            else:
                self._queue.append(call)
        self._ready = self._ready and self._servers.known


def _fail(calls: Iterable[Call], error: RegrowError) -> None:
    for call in calls:
        if not call.answer.done():
            call.answer.set_exception(error)
