"""The folder of a local Ray: where it can not be, and that its end leaves nobody in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from regrow.cluster import ray_folder
from regrow.cluster.config import RaySettings
from regrow.cluster.errors import RayUnavailable
from regrow.cluster.ray_connect import RaySession


def test_without_a_usable_folder_ray_is_not_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "gone"))

    with pytest.raises(RayUnavailable, match=r"RAY_TMPDIR is .*gone, which can not be used .*make that folder"):
        RaySession(RaySettings()).open()


@pytest.mark.slow
def test_the_end_of_a_folder_ends_who_works_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    folder = ray_folder.make()
    program = "import sys; log = open(sys.argv[1], 'w'); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", program, str(folder / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None and worker.stdout.readline() == b"open\n"
        assert ray_folder.workers_in(folder) == [worker.pid]

        ray_folder.end(folder)

        assert worker.wait(5) == -9
    assert not folder.exists()
