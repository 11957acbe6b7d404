"""The guardian's hand on the journal: it numbers the lives of hosts, and revokes those that are dead for certain.

A claim of an agent waits until the life that held it was revoked; so a death is told to the supervisors behind that,
and the next life of an agent finds it free. Which lives are there is noted in a file of the app's data folder: a
guardian that Ray has started again revokes those of its earlier life as soon as their processes are gone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.high_water import HighWater
from regrow.cluster.host_lease import LEASE_TTL_S, keep_lease
from regrow.cluster.host_lives import HostLives
from regrow.cluster.journal_check import check_asked, check_keeps
from regrow.cluster.orders import JournalOrder
from regrow.cluster.redis_journal import RedisJournal
from regrow.runtime.durability import AGAIN_FIRST_S, AGAIN_MAX_S, LEASE_TTL_MS
from regrow.runtime.journal_answers import Revocation
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.journal_errors import JournalRefused, JournalUnknown
from regrow.runtime.outage import HEALS

if TYPE_CHECKING:
    from regrow.cluster.config import HistorySettings, RedisSettings
    from regrow.runtime import ActorId

log = structlog.get_logger("regrow.journal")

STOCK = 16
"""Numbers that are drawn ahead, so that while Redis is away so many hosts can be made for plain agents."""
TOLD_WITHIN_S = 2.0
"""How long a death waits for its revocation; then it is told all the same, and claims wait for the revocation."""
WRITTEN_WITHIN_S = 2.0
"""How long whoever closes waits for a disk that still takes a note."""
REVOKE_WITHIN_S = LEASE_TTL_S
"""How long a revocation is tried; then the lease is over, and who claims an agent revokes its former host."""


class JournalOwner:
    """The journal of one app with durable agents, as its guardian uses it."""

    def __init__(
        self,
        app: str,
        folder: Path,
        redis: RedisSettings,
        history: HistorySettings,
        *,
        is_durable: Callable[[ActorId], bool],
    ) -> None:
        self._app = app
        self._is_durable = is_durable
        self._folder = folder / "journal"
        self._redis = redis
        self._history = history
        self._url = ""
        self._journal: RedisJournal | None = None
        self._own: HostEpoch | None = None
        self._stock: deque[HostEpoch] = deque()
        self._restocking: asyncio.Task[None] | None = None
        self._lives: HostLives | None = None
        self._water: HighWater | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def is_embedded(self) -> bool:
        """Whether it is kept in the app's own Redis."""
        return self._redis.url is None

    @property
    def journal(self) -> RedisJournal:
        """The journal; only after `open`."""
        assert self._journal is not None
        return self._journal

    async def open(self, url: str) -> None:
        """Looks whether this Redis can be relied on, and revokes what an earlier life of the app has left.

        May be called again where that failed. Raises ConfigError, RedisUnavailable, JournalUnknown, and the
        JournalRefused that says why the journal can not be used.
        """
        await self.aclose()
        if not await self.is_written(within_s=0.0):
            raise RedisUnavailable(
                f"the disk of the data folder {self._folder} has not taken a note for {WRITTEN_WITHIN_S:g} s and more; "
                "see to the disk, or set another data_dir"
            )
        check_asked(self._redis)
        if not self.is_embedded:
            await check_keeps(url, self._redis)
        self._url = url
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._folder / ".gitignore").write_text("*\n")
            water = self._water = HighWater(self._folder / f"{self._app}.water")
            lives = self._lives = HostLives(self._folder / f"{self._app}.hosts")
        except OSError as error:
            raise RedisUnavailable(
                f"the data folder {self._folder} can not be written ({error.strerror}); "
                "make it writable, or set another data_dir"
            ) from error
        journal = self._journal = RedisJournal.from_url(
            url,
            app=self._app,
            cluster=self._redis.cluster,
            limits=self._history.limits(),
            replicas=self._redis.replicas,
            water=water,
        )
        own = self._own = await journal.new_host_epoch()
        await journal.renew(own, ttl_ms=LEASE_TTL_MS)  # at each start, so that each leaves a higher mark
        self._looking = self._spawn(self._look(journal, own))
        for epoch, is_over in lives.earlier():
            # Where its process is not known to be over, the end of its lease tells.
            if await journal.revoke(epoch, reaped=is_over) is Revocation.REVOKED:
                lives.forget(epoch)
        self._restock()

    async def aclose(self) -> None:
        """Gives back its own lease and lets go of the store and the files; harmless where it was not opened.

        A disk that hangs holds this up for no longer than WRITTEN_WITHIN_S.
        """
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if not await self.is_written(within_s=WRITTEN_WITHIN_S):  # before anybody reads the files again
            log.warning("the disk still has not taken a note; it is left to itself", folder=str(self._folder))
        journal, self._journal = self._journal, None
        own, self._own = self._own, None
        if journal is None:
            return
        if own is not None:
            with suppress(JournalUnknown, JournalRefused, TimeoutError):  # then it ends by itself
                await asyncio.wait_for(journal.revoke(own, reaped=True), TOLD_WITHIN_S)
        await journal.aclose()

    async def is_written(self, *, within_s: float) -> bool:
        """Whether no write of its files is under way any more, as those are whose callers were cancelled."""
        files = [file for file in (self._lives, self._water) if file is not None]
        return all(await asyncio.gather(*(file.written(within_s=within_s) for file in files)))

    # ---- hosts ---------------------------------------------------------------------------------

    async def order(self) -> JournalOrder:
        """What a new host is told. Raises RedisUnavailable where the journal refuses to number it."""
        while not self._stock:
            self._restock()
            assert self._restocking is not None
            await asyncio.shield(self._restocking)
        epoch = self._stock.popleft()
        self._restock()
        redis = self._redis
        assert self._water is not None
        return JournalOrder(
            url=self._url,
            cluster=redis.cluster,
            epoch=epoch,
            replicas=redis.replicas,
            mark=self._water.seen,
            history=self._history,
        )

    def holds_any(self, actors: Iterable[ActorId]) -> bool:
        """Whether one of these agents is durable."""
        return any(map(self._is_durable, actors))

    async def joined(self, epoch: int, pid: int) -> None:
        """A host of this machine may hold agents from now on: returns when that is noted on the disk."""
        assert self._lives is not None
        await self._lives.note(HostEpoch(epoch), pid)

    async def bury(self, epoch: int, *, reaped: bool) -> bool:
        """Revokes a host that has died; returns when that is done, or has taken too long and goes on behind.

        One whose process may live on renews its lease no more, and is revoked when that ends. True where the host had
        been revoked before: it has died of that.
        """
        before = asyncio.get_running_loop().create_future()
        revoking = self._spawn(self._revoke(HostEpoch(epoch), before, reaped=reaped))
        await asyncio.wait([revoking], timeout=TOLD_WITHIN_S)
        return before.done() and before.result()

    async def _revoke(self, epoch: HostEpoch, before: asyncio.Future[bool], *, reaped: bool) -> None:
        assert self._journal is not None and self._lives is not None
        loop = asyncio.get_running_loop()
        deadline, pause_s = loop.time() + REVOKE_WITHIN_S, AGAIN_FIRST_S
        while True:
            try:
                if await self._revoked_now(self._journal, epoch, before, reaped=reaped):
                    self._lives.forget(epoch)
                    return
            except (JournalUnknown, JournalRefused) as error:
                if loop.time() > deadline:
                    log.warning("a dead host could not be revoked; its lease ends instead", reason=str(error))
                    return
            else:
                if loop.time() > deadline:
                    return  # nobody has seen its process end, and its last lease is about to
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, AGAIN_MAX_S)

    async def _revoked_now(
        self, journal: RedisJournal, epoch: HostEpoch, before: asyncio.Future[bool], *, reaped: bool
    ) -> bool:
        """Whether the host is revoked by now. Raises JournalUnknown and JournalRefused."""
        # By one script: of two calls the first is sent again behind the other where the store has lost its scripts.
        try:
            verdict, was = await journal.bury(epoch, reaped=reaped)
        except JournalUnknown:
            if not before.done():
                before.set_result(False)  # asked again, it might tell of our own revocation
            raise
        if not before.done():
            before.set_result(was)
        return verdict is Revocation.REVOKED

    # ---- inside --------------------------------------------------------------------------------

    def _restock(self) -> None:
        if self._restocking is None or self._restocking.done():
            if len(self._stock) < STOCK:
                self._restocking = self._spawn(self._draw())

    async def _draw(self) -> None:
        assert self._journal is not None
        pause_s = AGAIN_FIRST_S
        while len(self._stock) < STOCK:
            try:
                self._stock.append(await self._journal.new_host_epoch())
            except HEALS:
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, AGAIN_MAX_S)
            except JournalRefused as refusal:
                raise RedisUnavailable(str(refusal)) from refusal

    async def _look(self, journal: RedisJournal, own: HostEpoch) -> None:
        """Keeps the mark of the store in the data folder, by a lease of the guardian's own, and says what is wrong."""
        said = ""

        def refused(error: JournalRefused) -> None:
            nonlocal said
            if str(error) != said:
                said = str(error)
                log.error("the journal refuses", reason=said)

        await keep_lease(journal, own, renewed=_nothing, refused=refused, guardian_silent_s=float)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the journal does not serve", reason=str(error))


def _nothing(_left_s: float) -> None:
    pass
