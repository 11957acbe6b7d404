"""Carries a link's bytes as Ray actor calls, and decides nothing.

One call carries one packet, and its return carries one back. Ray's exceptions are read here and
nowhere else: what they mean for a peer is `PeerLost` (contact lost, the call may have run) or
`PeerDead` (the process is gone for certain).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorPlacementGroupRemoved,
    ActorUnschedulableError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
)

from regrow.cluster.hosts import DRIVER_PREFIX
from regrow.runtime import HostId, Killed
from regrow.runtime.transport import CallEnd, PeerDead, PeerLost

NAMESPACE = "regrow"
AGAIN_S = 0.05
"""Between two tries of a call that did not get through."""

_DEATHS = (ActorDiedError, OutOfMemoryError, RuntimeEnvSetupError, ActorUnschedulableError, ActorPlacementGroupRemoved)


class RayTransport:
    """The Transport port over Ray actor handles."""

    def __init__(self, me: HostId) -> None:
        self.me = me
        self._handles: dict[HostId, Any] = {}
        self._greeted: set[HostId] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def listens(self) -> bool:
        """See Transport."""
        return self.me.startswith(DRIVER_PREFIX)

    def can_call(self, host: HostId) -> bool:
        """See Transport."""
        return not host.startswith(DRIVER_PREFIX)

    def forget(self, host: HostId) -> None:
        """See Transport. An app may have thousands of hosts in its life, and a handle holds on to a dead actor."""
        self._handles.pop(host, None)

    @property
    def met(self) -> frozenset[HostId]:
        """See Transport."""
        return frozenset(self._handles)

    def know(self, host: HostId, handle: Any) -> None:
        """Names the actor handle of a host; others are looked up by name."""
        self._handles[host] = handle

    def call(self, host: HostId, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        """See Transport."""
        handle = self._handles.get(host)
        if handle is not None:
            self._call(host, handle, packet, ended)
            return
        self._spawn(self._find_and_call(host, packet, ended))

    async def _find_and_call(self, host: HostId, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        try:
            handle = self._handles.get(host) or await self._found(host)
        except PeerDead as dead:
            ended(dead)
        except RayError as error:  # who keeps the names is away
            ended(self._failed(host, error))
        else:
            self._call(host, handle, packet, ended)

    def _call(self, host: HostId, handle: Any, packet: bytes, ended: Callable[[CallEnd], None]) -> None:
        loop = asyncio.get_running_loop()
        # Its callback comes in a thread of Ray's, and from there in one step to the loop; awaiting it takes two.
        try:
            waiting: Future[bytes | None] = handle.receive.remote(self.me, packet).future()
        except RayError as error:  # it did not even leave
            loop.call_soon(ended, self._failed(host, error))
            return

        def hand_over(done: Future[bytes | None]) -> None:
            with suppress(RuntimeError):  # the loop is closed, so nobody waits any more
                loop.call_soon_threadsafe(self._call_ended, host, done, ended)

        waiting.add_done_callback(hand_over)

    def _call_ended(self, host: HostId, done: Future[bytes | None], ended: Callable[[CallEnd], None]) -> None:
        if done.cancelled():
            ended(PeerLost("the call was taken back"))
        elif (error := done.exception()) is None:
            ended(done.result())
        elif isinstance(error, RayError):
            ended(self._failed(host, error))
        else:  # told as well, since a link waits for the end of each call
            ended(PeerLost(f"{type(error).__name__}: {error}"))

    def greet(self, host: HostId) -> None:
        """See Transport."""
        if self.can_call(host) and host not in self._handles and host not in self._greeted:
            self._greeted.add(host)
            self._spawn(self._greet(host))

    async def _greet(self, host: HostId) -> None:
        try:
            await (await self._found(host)).ping.remote()
        except PeerDead:
            pass  # whoever sends there will learn of it
        except RayError as error:
            self._failed(host, error)  # which forgets one that has died meanwhile
        finally:
            self._greeted.discard(host)

    async def listen(self, host: HostId) -> bytes | None:
        """See Transport."""
        handle = self._handles.get(host) or await self._found(host)
        try:
            said: bytes | None = await handle.listened.remote(self.me)
        except RayError as error:
            raise self._failed(host, error) from error
        return said

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _failed(self, host: HostId, error: RayError) -> PeerLost | PeerDead:
        verdict = contact_error(error)
        if isinstance(verdict, PeerDead):
            self.forget(host)
        return verdict

    async def _found(self, host: HostId) -> Any:
        try:
            handle = await asyncio.to_thread(ray.get_actor, actor_name(host), NAMESPACE)
        except ValueError as error:  # Ray's answer for a name that nobody has: the actor is dead
            raise PeerDead(Killed(detail=f"host {host} is gone")) from error
        self._handles[host] = handle
        return handle


def leave_terminal() -> None:
    """Leaves the driver's process group: a Ctrl-C at the terminal is for the driver, which stops us in order."""
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


async def got_through(method: Any, *arguments: object) -> Any:
    """The result of calling an actor's method that may run twice: it is called again until an answer has come.

    Lost contact may last, so whoever can not wait sets a limit around it. Raises PeerDead, and RayTaskError for
    what the call itself raised.
    """
    while True:
        try:
            return await method.remote(*arguments)
        except RayTaskError:
            raise
        except RayError as error:
            verdict = contact_error(error)
            if isinstance(verdict, PeerDead):
                raise verdict from error
            await asyncio.sleep(AGAIN_S)


def actor_name(host: str) -> str:
    """The Ray name of a host's actor."""
    return f"regrow:{host}"


def contact_error(error: RayError) -> PeerLost | PeerDead:
    """What a failed call says of the other side."""
    if isinstance(error, _DEATHS):
        return PeerDead(Killed(detail=cause_of(error)))
    return PeerLost(str(error).splitlines()[0] if str(error) else type(error).__name__)


def cause_of(error: RayError) -> str:
    """The part of Ray's text on a death that helps a person, in a few words."""
    text = str(error)
    if isinstance(error, OutOfMemoryError):
        return "out of memory"
    if "ray.kill" in text or ("killed by" in text and "ray.kill" in text):
        return "ended by its keeper"
    if "SYSTEM_ERROR" in text or "connection error" in text:
        return "its process died, as by SIGKILL"
    first = text.splitlines()[0] if text else type(error).__name__
    return first[:200]
