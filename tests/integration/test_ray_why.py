"""`regrow why` on Ray: of a crash in a host, and of a host that was killed, read when the app is gone."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest

from regrow.cluster.app import EngineName
from regrow.cluster.config import Settings
from regrow.cluster.past_incidents import found_of
from regrow.cluster.why_advice import what_next
from regrow.runtime import ActorId
from tests.integration.apps import victims
from tests.integration.apps.victims import Crash, Hold, Note
from tests.integration.conftest import Start, nothing_left
from tests.integration.killing import asked, back, kill
from tests.integration.waiting import until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.ray,
    pytest.mark.again,  # in one process the same is tried by day
    pytest.mark.asyncio(loop_scope="module"),
]


@pytest.fixture(scope="module")
def engine(local_ray: Path) -> EngineName:
    """Only on Ray is there a process to kill."""
    return "ray"


@pytest.fixture(scope="module")
def settings(root: Path, engine: EngineName) -> Settings:
    """With a data folder for this module."""
    return Settings(data_dir=Path(tempfile.mkdtemp(prefix="data-why-", dir=root)))


async def test_a_crash_in_a_host_and_its_sigkill_are_told_when_the_app_is_gone(
    start: Start, settings: Settings, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with nothing_left(root):
        async with start(victims.app) as running:
            clerk = running.ref("clerk")
            await clerk.tell(Note(number=1))
            await clerk.tell(Crash())
            await until(lambda: len(deaths(settings)) == 1, "its death is kept", within_s=30)
            await back(clerk)
            holding = await asked(clerk, Hold(begun=str(tmp_path / "begun")))
            await clerk.tell(Note(number=2))
            lives = await running.engine.messages(ActorId("victims/clerk"))
            nobody = await running.engine.messages(ActorId("victims/nobody"))
            await kill(running, "victims/clerk")
            await back(clerk)
            holding.cancel()

    assert lives is not None and nobody is None
    assert [(each.message, each.fate) for each in lives] == [
        ("Note", "handled"),
        ("Crash", "crashed"),
        ("Pid", "handled"),
        ("Hold", "under way"),
    ]
    found = found_of(settings, "victims/clerk")
    crash, killed = found.deaths
    assert crash.reason["text"] == "RuntimeError: crashed on demand"
    assert crash.reason["place"].startswith("victims.py:")
    assert crash.messages is not None
    assert [(each["message"], each["fate"]) for each in crash.messages] == [("Note", "handled"), ("Crash", "crashed")]
    assert (killed.reason["kind"], killed.messages) == ("killed", None)
    assert killed.pid != crash.pid or killed.incarnation != crash.incarnation
    assert any(f"life #{killed.incarnation}" in each for each in found.unknown)
    assert str(killed.pid) in what_next(found)[0].text
    kinds = [each.about.get("kind") for each in found.decisions]
    assert kinds.count("restarting") == 2


def deaths(settings: Settings) -> list[object]:
    """Those of the clerk whose messages are known."""
    from regrow.cluster.incident_store import FILE_NAME, IncidentFile, Sort

    path = settings.data_dir_of("victims") / FILE_NAME
    if not path.exists():
        return []
    try:
        return [each for each in IncidentFile(path).of_agent("victims/clerk") if each.sort is Sort.DEATH]
    except sqlite3.OperationalError:  # the file is there, and its tables are still to be made
        return []
