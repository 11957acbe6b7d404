"""The e-mail test: a step with an effect outside is killed at every point between the effect and its record.

A proxy before Redis kills the host exactly when a script is on its way or has been applied; inside of the step's
function the test does. A mail whose sender honours its key is sent once, whatever happens. Of one that does not, nobody
knows where the record is missing, so a person is asked.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from chaos_proxy import Act, RedisProxy, Side, Trap
from pydantic import SecretStr

from regrow import Running
from regrow.actors.durable_errors import InQuarantine
from regrow.cluster.config import RedisSettings, Settings
from regrow.cluster.set_aside import Decision, decided
from regrow.runtime.command_ids import new_command_id
from regrow.runtime.journal_answers import Assume
from tests.conformance.redis_servers import embedded_program, started
from tests.integration.apps import mails
from tests.integration.apps.mails import Send
from tests.integration.killing import kill
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.redis,
    pytest.mark.again,
    pytest.mark.asyncio(loop_scope="module"),
]

PATIENCE_S = 60.0
MAILER = "mails/mailer"


@dataclass(frozen=True)
class Desk:
    """The running app, and what stands between it and its Redis."""

    running: Running
    proxy: RedisProxy


@dataclass(frozen=True)
class Point:
    """Where the host is killed: at a script, or inside of the step's function. `sent` says whether the mail is out."""

    name: str
    sent: bool
    recorded: bool
    hold: str = ""
    script: str = ""
    side: Side = Side.BEFORE

    def __str__(self) -> str:
        return self.name


POINTS = (
    Point("the step is begun", sent=False, recorded=False, script="start_step", side=Side.AFTER),
    Point("before the effect", sent=False, recorded=False, hold="before"),
    Point("after the effect", sent=True, recorded=False, hold="after"),
    Point("the record is on its way", sent=True, recorded=False, script="finish_step", side=Side.BEFORE),
    Point("it is recorded", sent=True, recorded=True, script="finish_step", side=Side.AFTER),
    Point("the commit is on its way", sent=True, recorded=True, script="commit", side=Side.BEFORE),
    Point("it is committed", sent=True, recorded=True, script="commit", side=Side.AFTER),
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(local_ray: Path, root: Path) -> AsyncIterator[Desk]:
    """The app on a Redis of its own, with the proxy in front of it."""
    folder = Path(tempfile.mkdtemp(prefix="data-mails-", dir=root))
    proxy = RedisProxy({folder / "proxy.sock": folder / "redis" / "redis.sock"})
    url = SecretStr(f"unix://{folder}/proxy.sock")
    settings = Settings(data_dir=folder / "data", redis=RedisSettings(url=url))
    keeps = ("port 0", "appendonly yes", "appendfsync always")
    with started(embedded_program(), folder / "redis", *keeps):
        proxy.start()
        async with mails.app.start(engine="ray", settings=settings) as running:
            yield Desk(running, proxy)
        proxy.stop()


async def killed_at(desk: Desk, point: Point, folder: Path, command: str, *, is_idempotent: bool) -> int:
    """Asks for a mail, and kills the host at the point; gives the reply. Raises InQuarantine."""
    go = folder / "go"
    send = Send(file=str(folder / "mails"), go=str(go), hold=point.hold, is_idempotent=is_idempotent)
    mailer = desk.running.ref("mailer")
    if point.script:
        killed = desk.proxy.arm(Trap(script=point.script, side=point.side, act=Act.KILL, agent=MAILER))
        asking = asyncio.create_task(mailer.ask(send, timeout_s=PATIENCE_S, command_id=command))
        await asyncio.wait_for(asyncio.wrap_future(killed), PATIENCE_S)
    else:
        asking = asyncio.create_task(mailer.ask(send, timeout_s=PATIENCE_S, command_id=command))
        await until((folder / "held").exists, "the step has come to where it waits")
        await kill(desk.running, MAILER)
        go.touch()
    return await asking


def sent(folder: Path) -> int:
    """How many mails are out."""
    file = folder / "mails"
    return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.mark.parametrize("point", POINTS, ids=str)
async def test_a_mail_whose_sender_honours_its_key_is_sent_once_wherever_its_host_is_killed(
    desk: Desk, point: Point, tmp_path: Path
) -> None:
    command = new_command_id()

    count = await killed_at(desk, point, tmp_path, command, is_idempotent=True)

    assert sent(tmp_path) == 1
    again = Send(file=str(tmp_path / "mails"), go=str(tmp_path / "go"), hold=point.hold, is_idempotent=True)
    assert await desk.running.ref("mailer").ask(again, command_id=command) == count


@pytest.mark.parametrize("point", [point for point in POINTS if not point.recorded], ids=str)
async def test_of_one_that_must_not_be_sent_again_nobody_knows_and_a_person_settles_it(
    desk: Desk, point: Point, tmp_path: Path
) -> None:
    command = new_command_id()
    send = Send(file=str(tmp_path / "mails"), go=str(tmp_path / "go"), hold=point.hold, is_idempotent=False)

    with pytest.raises(InQuarantine):
        await killed_at(desk, point, tmp_path, command, is_idempotent=False)

    id = f"{MAILER}@{command}"
    shown = await decided(desk.running, id, Decision.SHOW, None)
    assert (sent(tmp_path), shown["open_steps"]) == (int(point.sent), 1)
    (tmp_path / "go").touch()
    await decided(desk.running, id, Decision.REQUEUE, Assume.DONE if point.sent else Assume.UNDONE)

    async def answered() -> bool:
        try:
            return await desk.running.ref("mailer").ask(send, timeout_s=PATIENCE_S, command_id=command) > 0
        except InQuarantine:
            return False

    await until(answered, "it was handled again")
    assert sent(tmp_path) == 1


@pytest.mark.parametrize("point", [point for point in POINTS if point.recorded], ids=str)
async def test_but_what_is_recorded_needs_no_person_and_is_not_sent_again(
    desk: Desk, point: Point, tmp_path: Path
) -> None:
    assert await killed_at(desk, point, tmp_path, new_command_id(), is_idempotent=False) > 0

    assert sent(tmp_path) == 1
