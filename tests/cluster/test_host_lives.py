"""The note of hosts that may hold durable agents: who comes after a crash knows which of them are over."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from regrow.cluster.host_lives import HostLives
from regrow.runtime.journal_entries import HostEpoch
from regrow.runtime.processes import started_at

SEVEN, EIGHT = HostEpoch(7), HostEpoch(8)


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


async def test_a_process_that_has_ended_is_over_and_one_that_runs_is_not(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        before = HostLives(file)
        await before.note(SEVEN, process.pid)
        await before.note(EIGHT, os.getpid())
        process.kill()

    assert dict(HostLives(file).earlier()) == {SEVEN: True, EIGHT: False}


async def test_another_process_of_the_same_number_is_not_taken_for_the_one_that_was_noted(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    await HostLives(file).note(SEVEN, os.getpid())

    file.write_text(file.read_text().replace(str(started_at(os.getpid())), "1"))

    assert dict(HostLives(file).earlier()) == {SEVEN: True}


async def test_of_a_process_on_another_machine_nothing_is_known(tmp_path: Path, ended: int) -> None:
    file = tmp_path / "hosts"
    await HostLives(file).note(SEVEN, ended)
    assert dict(HostLives(file).earlier()) == {SEVEN: False}, "it had no start to be told by"

    file.write_text(f'{{"7": [{ended}, "123", "another machine"]}}')

    assert dict(HostLives(file).earlier()) == {SEVEN: False}


async def test_when_all_were_revoked_no_file_is_left(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    lives = HostLives(file)
    await lives.note(SEVEN, os.getpid())
    await lives.note(EIGHT, os.getpid())
    lives.forget(SEVEN)
    await lives.written()
    assert file.exists()

    lives.forget(EIGHT)
    await lives.written()

    assert list(tmp_path.iterdir()) == []


def test_a_note_that_can_not_be_read_is_told_and_holds_up_nobody(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text('{"7": 12}')

    with capture_logs() as logs:
        assert list(HostLives(file).earlier()) == []

    assert "can not be read" in logs[0]["event"]


async def test_while_a_disk_takes_its_time_with_the_note_the_event_loop_goes_on(tmp_path: Path) -> None:
    draft = tmp_path / "hosts.new"
    os.mkfifo(draft)  # to be opened for writing, it waits for somebody who reads
    lives = HostLives(tmp_path / "hosts")

    noting = asyncio.ensure_future(lives.note(SEVEN, os.getpid()))
    for _ in range(10):
        await asyncio.sleep(0)
    goes_on = not noting.done()
    reader = await asyncio.to_thread(os.open, draft, os.O_RDONLY)
    await asyncio.wait([noting])
    os.close(reader)
    draft.unlink()
    await lives.note(EIGHT, os.getpid())

    assert goes_on
    assert isinstance(noting.exception(), OSError)  # what is no file can not be forced to the disk
    assert dict(HostLives(tmp_path / "hosts").earlier()) == {SEVEN: False, EIGHT: False}
