"""The doctor: each trouble is found, weighed and comes with what to do about it."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import SecretStr

from regrow.cluster import doctor
from regrow.cluster.config import RaySettings, RedisSettings, Settings
from regrow.cluster.doctor import Finding, Verdict
from regrow.cluster.errors import RedisUnavailable
from regrow.cluster.ray_address import RayAddress
from regrow.cluster.redis_check import RedisFacts
from regrow.cluster.redis_process import RedisProgram


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder, an environment that says nothing, a runtime folder of the test's own."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("REGROW_", "OPENAI_")):
            monkeypatch.delenv(name)
    with tempfile.TemporaryDirectory(prefix="rg") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield tmp_path


def settings(**sections: Any) -> Settings:
    return Settings(**sections)


def assert_finding(found: Finding, verdict: Verdict, text: str, advice: str = "") -> None:
    assert found.verdict is verdict, found
    assert text in found.text
    assert advice in found.advice
    assert bool(found.advice) == (verdict is not Verdict.GOOD)


def test_this_python_is_good() -> None:
    assert_finding(doctor.python_found(), Verdict.GOOD, sys.executable)


def test_an_old_python_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHON_FLOOR", (99, 0))

    assert_finding(doctor.python_found(), Verdict.BAD, "3.", "install Python 99.0")


def test_the_installed_dependencies_are_good() -> None:
    assert_finding(doctor.dependencies_found(), Verdict.GOOD, "dependencies")


def test_missing_and_old_dependencies_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    declared = [
        "pydantic>=99.5",
        "no-such-package>=1",
        "redis[hiredis]>=1.0",
        "also-missing>=1; sys_platform == 'other'",
        "only-extra>=1; extra == 'pdf'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: declared)

    found = doctor.dependencies_found()

    assert_finding(found, Verdict.BAD, "no-such-package is missing", "pip install")
    assert "99.5 is needed" in found.text
    assert "redis" not in found.text
    assert "also-missing" not in found.text
    assert "only-extra" not in found.text


def test_ray_jobs_are_good_with_and_without_what_they_need(monkeypatch: pytest.MonkeyPatch) -> None:
    assert_finding(doctor.jobs_found(), Verdict.GOOD, "has what it needs")
    declared = ["click>=1", 'no-such-package>=1; extra == "default"', "also-missing; extra == 'serve'"]
    monkeypatch.setattr(doctor, "requires", lambda name: declared)

    assert_finding(doctor.jobs_found(), Verdict.GOOD, "would need no-such-package; regrow[jobs] brings that")


@pytest.mark.slow
def test_modules_are_tried_in_a_process_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NATIVE_MODULES", ("msgpack", "no_such_module"))

    good, bad = doctor.modules_found()

    assert_finding(good, Verdict.GOOD, "loads")
    assert_finding(bad, Verdict.BAD, "ModuleNotFoundError", "pip install")


@pytest.mark.slow
def test_a_module_that_ends_python_is_bad(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "deadly.py").write_text("import os; os._exit(3)")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setattr(doctor, "NATIVE_MODULES", ("deadly",))

    (found,) = doctor.modules_found()

    assert_finding(found, Verdict.BAD, "ended Python with code 3", "by hand")


def test_modules_that_take_for_ever_are_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def late(*args: object, **kwargs: object) -> NoReturn:
        raise subprocess.TimeoutExpired("python", 60)

    monkeypatch.setattr(subprocess, "run", late)

    (found,) = doctor.modules_found()

    assert_finding(found, Verdict.BAD, "took more than 60 s", "try again")


def test_a_config_that_is_not_there_is_good() -> None:
    found_settings, found = doctor.settings_found(None)

    assert_finding(found, Verdict.GOOD, "no regrow.toml here")
    assert found_settings.engine == "inline"


def test_a_wrong_config_is_bad_and_the_defaults_stand_in(folder: Path) -> None:
    (folder / "regrow.toml").write_text("[redis]\nurll = 5\n")

    found_settings, found = doctor.settings_found(None)

    assert_finding(found, Verdict.BAD, "unknown key 'redis.urll'; did you mean 'redis.url'?", "correct it")
    assert found_settings.redis.url is None


def test_another_config_is_looked_at(folder: Path) -> None:
    (folder / "other.toml").write_text('engine = "ray"\n')

    assert_finding(doctor.settings_found(Path("other.toml"))[1], Verdict.GOOD, "other.toml is valid; engine 'ray'")


@pytest.mark.parametrize(
    ("version", "bundled", "verdict", "advice"),
    [
        ((8, 0, 0), False, Verdict.GOOD, ""),
        ((7, 0, 5), False, Verdict.DOUBTFUL, "upgrade it to 7.2.0"),
        ((6, 2, 14), True, Verdict.DOUBTFUL, "for production install redis or valkey"),
    ],
)
def test_a_redis_to_start_is_weighed_by_its_version(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int, int], bundled: bool, verdict: Verdict, advice: str
) -> None:
    program = RedisProgram(Path("/bin/redis-server"), version, bundled=bundled)
    monkeypatch.setattr(doctor, "find_redis", lambda: program)

    assert_finding(doctor.redis_found(settings()), verdict, "at /bin/redis-server", advice)


def test_no_redis_at_all_is_bad(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> NoReturn:
        raise RedisUnavailable("no redis-server 6.2.0 or newer was found")

    monkeypatch.setattr(doctor, "find_redis", none)

    assert_finding(doctor.redis_found(settings()), Verdict.BAD, "no redis-server", "need it")


def test_a_redis_url_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(url: str, *, cluster: bool) -> RedisFacts:
        return RedisFacts("redis://db:6379", "valkey", (7, 2, 4))

    monkeypatch.setattr(doctor, "check_redis", check)
    given = settings(redis=RedisSettings(url=SecretStr("redis://:secret@db:6379")))

    found = doctor.redis_found(given)

    assert_finding(found, Verdict.GOOD, "valkey 7.2.4 at redis://db:6379")
    assert "secret" not in found.text


def test_a_redis_url_that_refuses_is_bad() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # it does not listen, so it refuses
        url = SecretStr(f"redis://:secret@127.0.0.1:{taken.getsockname()[1]}")

        found = doctor.redis_found(settings(redis=RedisSettings(url=url)))

    assert_finding(found, Verdict.BAD, "can not be reached", "need it")
    assert "secret" not in found.text


def test_a_data_folder_is_tried_and_not_made(folder: Path) -> None:
    assert_finding(doctor.data_dir_found(settings()), Verdict.GOOD, f"{folder / '.regrow'} can be written")
    assert list(folder.iterdir()) == []


def test_a_data_folder_that_is_a_file_is_bad(folder: Path) -> None:
    (folder / "kept").touch()

    assert_finding(doctor.data_dir_found(settings(data_dir=folder / "kept")), Verdict.BAD, "can not be written", "set")


def test_a_full_disk_is_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "FREE_DISK_ADVISED_BYTES", 1 << 62)

    assert_finding(doctor.data_dir_found(settings()), Verdict.DOUBTFUL, "free", "make room")


def test_control_sockets_can_be_made() -> None:
    assert_finding(doctor.control_found(), Verdict.GOOD, os.environ["XDG_RUNTIME_DIR"])


def test_shared_memory_is_weighed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "SHARED_MEMORY_ADVISED_BYTES", 0)
    assert_finding(doctor.shared_memory_found(folder), Verdict.GOOD, "GiB")
    monkeypatch.setattr(doctor, "SHARED_MEMORY_ADVISED_BYTES", 1 << 62)
    assert_finding(doctor.shared_memory_found(folder), Verdict.DOUBTFUL, "GiB", "--shm-size")

    assert_finding(doctor.shared_memory_found(folder / "missing"), Verdict.DOUBTFUL, "there is no", "--shm-size")


@pytest.mark.parametrize(
    ("limits", "verdict", "advice"),
    [
        ((65_536, 65_536), Verdict.GOOD, ""),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), Verdict.GOOD, ""),
        ((1_024, 65_536), Verdict.DOUBTFUL, "ulimit -n 4096"),
        ((256, 1_024), Verdict.DOUBTFUL, "once the administrator allows more than 1,024"),
    ],
)
def test_open_files_are_weighed(limits: tuple[int, int], verdict: Verdict, advice: str) -> None:
    assert_finding(doctor.open_files_found(lambda _: limits), verdict, "ulimit -n", advice)


def test_ports_can_be_listened_to() -> None:
    assert_finding(doctor.ports_found(), Verdict.GOOD, "127.0.0.1")


def test_a_ray_address_where_nobody_listens_is_bad_and_says_who_named_it() -> None:
    found = doctor.ray_address_found(RayAddress("127.0.0.1:9", "RAY_ADDRESS"))

    assert_finding(found, Verdict.BAD, "no Ray answers", "or correct RAY_ADDRESS")


def test_a_ray_address_that_only_ray_can_look_up_is_good() -> None:
    assert_finding(doctor.ray_address_found(RayAddress("auto", "ray.address")), Verdict.GOOD, "as ray.address says")


@pytest.mark.slow
def test_everything_is_examined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NATIVE_MODULES", ("msgpack",))
    monkeypatch.setattr(
        Settings, "load", classmethod(lambda cls, config=None: settings(ray=RaySettings(address="auto")))
    )

    subjects = [finding.subject for finding in doctor.examine()]

    assert subjects == [
        "Python",
        "packages",
        "msgpack",
        "Ray jobs",
        "config",
        "Redis",
        "data folder",
        "control sockets",
        "shared memory",
        "open files",
        "ports",
        "Ray address",
    ]


def test_a_usable_folder_for_ray_is_good() -> None:
    assert_finding(doctor.ray_folder_found(), Verdict.GOOD, "below /")


def test_a_folder_for_ray_that_is_missing_or_too_long_is_bad(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(folder / "gone"))
    assert_finding(doctor.ray_folder_found(), Verdict.BAD, "RAY_TMPDIR is", "set RAY_TMPDIR to another")

    (long := folder / ("x" * 90)).mkdir()
    monkeypatch.setenv("RAY_TMPDIR", str(long))
    assert_finding(doctor.ray_folder_found(), Verdict.BAD, "too long a name", "at most")
