"""The folders of tools in processes of their own: whose they are, and that those of the dead are removed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from regrow.actors import tool_folders
from regrow.actors.tool_folders import new_folder, remove, sweep
from tests.integration.waiting import until

MAKES_ONE = "from regrow.actors.tool_folders import new_folder; print(new_folder())"


_first_sweep = tool_folders.sweep_once


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of temporary files for one test, which is swept when the test says so."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(tool_folders, "sweep_once", lambda: None)
    return tmp_path


def of_the_dead(folder: Path) -> Path:
    """The folder of this process renamed, as if its process had been another one of the same number."""
    prefix, space, pid, started, rest = folder.name.rsplit("-", 4)
    renamed = folder.with_name("-".join((prefix, space, pid, str(int(started) + 1), rest)))
    return folder.rename(renamed)


def test_what_a_host_has_left_that_has_ended_is_removed_with_all_that_is_in_it() -> None:
    left = of_the_dead(Path(new_folder()))
    (left / "below").mkdir()
    (left / "below" / "file").write_text("much")

    assert sweep() == [left.name]

    assert not left.exists()


@pytest.mark.slow
@pytest.mark.program
def test_a_process_that_ended_without_a_word_is_known_to_have_ended(place: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-c", MAKES_ONE],
        env={**os.environ, "TMPDIR": str(place)},
        capture_output=True,
        check=True,
        text=True,
    )

    assert sweep() == [Path(told.stdout.strip()).name]


def test_what_a_host_works_in_that_lives_stays() -> None:
    mine = Path(new_folder())

    assert sweep() == []

    assert mine.is_dir()


@pytest.mark.parametrize("space", ["00000000", "no-space"])
def test_what_another_machine_or_container_numbers_stays(space: str) -> None:
    left = of_the_dead(Path(new_folder()))
    others = left.rename(left.with_name(left.name.replace(left.name.split("-")[2], space)))

    assert sweep() == []

    assert others.is_dir()


def test_what_another_user_or_a_link_has_that_name_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    left = of_the_dead(Path(new_folder()))
    target = place / "target"
    target.mkdir()
    link = place / f"{left.name}x"
    link.symlink_to(target)

    assert sweep() == [left.name], "the link stays"
    assert target.is_dir()

    left.mkdir()
    another = os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: another)
    assert sweep() == []
    assert left.is_dir()


async def test_a_wait_for_a_removal_that_is_cut_off_does_not_cut_the_removal_off() -> None:
    folder = new_folder()
    removing = asyncio.create_task(remove(folder))
    await asyncio.sleep(0)
    removing.cancel()
    await asyncio.wait((removing,))

    await remove(new_folder())  # in the same threads, which are begun in their order
    await until(lambda: not Path(folder).exists(), "it is gone")


async def test_the_first_call_of_a_host_has_it_done_and_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    left = of_the_dead(Path(new_folder()))
    _first_sweep.cache_clear()
    monkeypatch.setattr(tool_folders, "sweep_once", _first_sweep)

    new_folder()

    await until(lambda: not left.exists(), "it is gone")
