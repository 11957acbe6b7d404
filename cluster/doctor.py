"""`regrow doctor`: what this machine lacks for running apps, each finding with what to do about it.

Nothing is started and nothing is changed. A finding is bad when some app can not run here, doubtful when it
runs with less speed or safety than it could.
"""

from __future__ import annotations

import asyncio
import enum
import json
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from regrow.cluster import ray_folder
from regrow.cluster.config import FILE_NAME, RedisSettings, Settings
from regrow.cluster.control_client import make_runtime_dir
from regrow.cluster.errors import ConfigError, RedisUnavailable
from regrow.cluster.ray_address import RayAddress, ray_address
from regrow.cluster.ray_address import trouble as address_trouble
from regrow.cluster.redis_check import check_redis
from regrow.cluster.redis_process import VERSION_ADVISED, find_redis, told
from regrow.runtime.errors import RegrowError, WorldBroke

PYTHON_FLOOR = (3, 11)
OPEN_FILES_ADVISED = 4_096
"""Each process of Ray and each host keeps some hundred descriptors."""

SHARED_MEMORY_ADVISED_BYTES = 1 << 30
"""Below it Ray's object store falls back to the disk."""

FREE_DISK_ADVISED_BYTES = 1 << 30

IMPORT_TIMEOUT_S = 60.0
"""For loading Ray and FAISS in a process of their own; on a cold disk it takes seconds."""

NATIVE_MODULES = ("ray", "faiss", "tantivy")
"""Dependencies with compiled code: they can be installed and still not load here."""

_TRY_IMPORTS = """
import importlib, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        module = importlib.import_module(name)
        found[name] = [True, str(getattr(module, "__version__", ""))]
    except BaseException as error:
        found[name] = [False, f"{type(error).__name__}: {error}"]
print(json.dumps(found))
"""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[[^]]*\])?\s*(?:>=\s*(?P<floor>[\d.]+))?[^;]*(?:;\s*(?P<marker>.*))?")


class Verdict(enum.Enum):
    """What a finding means for running apps here."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `advice` is empty where all is well."""

    subject: str
    verdict: Verdict
    text: str
    advice: str = ""


def examine(config: Path | None = None) -> Iterator[Finding]:
    """Looks at everything, one finding after the other; takes a few seconds."""
    yield python_found()
    yield dependencies_found()
    yield from modules_found()
    yield jobs_found()
    settings, finding = settings_found(config)
    yield finding
    yield (found := redis_found(settings))
    if settings.redis.url is not None and found.verdict is not Verdict.BAD:
        yield kept_found(settings.redis)
    yield data_dir_found(settings)
    yield control_found()
    yield shared_memory_found()
    yield open_files_found()
    yield ports_found()
    address = ray_address(settings.ray)
    yield ray_address_found(address) if address is not None else ray_folder_found()


def python_found() -> Finding:
    """Which Python this is."""
    text = f"{'.'.join(map(str, sys.version_info[:3]))} at {sys.executable}"
    if sys.version_info < PYTHON_FLOOR:
        return Finding("Python", Verdict.BAD, text, f"install Python {'.'.join(map(str, PYTHON_FLOOR))} or newer")
    return Finding("Python", Verdict.GOOD, text)


def dependencies_found() -> Finding:
    """Whether every declared dependency is installed and new enough."""
    wrong: list[str] = []
    declared = [item for item in requires("regrow") or [] if _is_needed_here(item)]
    for item in declared:
        found = _REQUIREMENT.match(item)
        assert found is not None, item
        try:
            installed = version(found["name"])
        except PackageNotFoundError:
            wrong.append(f"{found['name']} is missing")
            continue
        if found["floor"] and _numbers(installed) < _numbers(found["floor"]):
            wrong.append(f"{found['name']} is {installed}, and {found['floor']} is needed")
    text = f"regrow {version('regrow')} and its {len(declared)} dependencies"
    if wrong:
        return Finding("packages", Verdict.BAD, "; ".join(wrong), "run: python -m pip install --upgrade regrow")
    return Finding("packages", Verdict.GOOD, text)


def modules_found() -> Iterator[Finding]:
    """Whether the compiled dependencies load, tried in a process of their own."""
    command = [sys.executable, "-c", _TRY_IMPORTS, *NATIVE_MODULES]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        text = f"loading {', '.join(NATIVE_MODULES)} took more than {IMPORT_TIMEOUT_S:g} s"
        yield Finding("modules", Verdict.BAD, text, "look at the load and the disk of this machine, then try again")
        return
    try:
        found: dict[str, tuple[bool, str]] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        text = f"loading {', '.join(NATIVE_MODULES)} ended Python with code {done.returncode}"
        yield Finding("modules", Verdict.BAD, text, f"try each by hand: {sys.executable} -c 'import ray'")
        return
    for name, (loads, text) in found.items():
        if loads:
            yield Finding(name, Verdict.GOOD, f"{text} loads".strip())
        else:
            yield Finding(name, Verdict.BAD, f"does not load ({text})", "run: python -m pip install --upgrade regrow")


def jobs_found() -> Finding:
    """Whether `ray job submit` works with this Python, as a choice: nothing else needs what it needs."""
    missing: set[str] = set()
    for item in requires("ray") or []:
        found = _REQUIREMENT.match(item)
        if found is not None and re.search(r"extra\s*==\s*['\"]default['\"]", item):
            try:
                version(found["name"])
            except PackageNotFoundError:
                missing.add(found["name"])
    text = "`ray job submit` has what it needs"
    if missing:
        text = f"`ray job submit` would need {', '.join(sorted(missing))}; regrow[jobs] brings that"
    return Finding("Ray jobs", Verdict.GOOD, text)


def settings_found(config: Path | None) -> tuple[Settings, Finding]:
    """Whether file and environment are valid; the defaults stand in for settings that are not."""
    try:
        settings = Settings.load(config)
    except ConfigError as error:
        # Made without reading anything, since what there is to read is wrong.
        return Settings.model_construct(), Finding("config", Verdict.BAD, str(error), "correct it, or take it out")
    path = config or Path(FILE_NAME)
    text = f"{path} is valid" if path.exists() else f"no {FILE_NAME} here, so the defaults hold"
    return settings, Finding("config", Verdict.GOOD, f"{text}; engine {settings.engine!r}")


def redis_found(settings: Settings) -> Finding:
    """Whether the Redis of the config answers, or else one can be started."""
    try:
        if settings.redis.url is not None:
            url = settings.redis.url.get_secret_value()
            facts = asyncio.run(check_redis(url, cluster=settings.redis.cluster))
            text, number = f"{facts.server} {told(facts.version)} at {facts.shown_url}", facts.version
        else:
            program = find_redis()
            text, number = f"{told(program.version)} at {program.path}", program.version
            if program.bundled:
                advice = "for production install redis or valkey, or set redis.url"
                return Finding("Redis", Verdict.DOUBTFUL, f"{text}, for development only", advice)
    except (WorldBroke, ConfigError) as error:
        needed = "apps that remember, durable agents and caps of runs need it; without it calls of tools are counted in"
        return Finding("Redis", Verdict.BAD, str(error), f"{needed} memory, which a host that dies forgets")
    if number < VERSION_ADVISED:
        advice = f"upgrade it to {told(VERSION_ADVISED)} or newer; older ones are out of support"
        return Finding("Redis", Verdict.DOUBTFUL, text, advice)
    return Finding("Redis", Verdict.GOOD, text)


def kept_found(redis: RedisSettings) -> Finding:
    """Whether the Redis of the config keeps what it acknowledges, as durable agents need it; others do not."""
    from regrow.cluster.journal_check import check_keeps  # here, as most apps have no durable agents

    assert redis.url is not None
    try:
        asyncio.run(check_keeps(redis.url.get_secret_value(), redis))
    except RedisUnavailable as error:
        text, _, advice = str(error).partition("; ")
        return Finding("kept by Redis", Verdict.DOUBTFUL, f"durable agents would not start: {text}", advice)
    return Finding("kept by Redis", Verdict.GOOD, "what durable agents need")


def data_dir_found(settings: Settings) -> Finding:
    """Whether apps can keep their data."""
    folder = settings.data_dir.absolute() if settings.data_dir is not None else Path(".regrow").absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
        free_bytes = shutil.disk_usage(there).free
    except OSError as error:
        text = f"{folder} can not be written ({error.strerror})"
        return Finding("data folder", Verdict.BAD, text, "make it writable, or set data_dir to a folder of yours")
    text = f"{folder} can be written, {_told_bytes(free_bytes)} free"
    if free_bytes < FREE_DISK_ADVISED_BYTES:
        return Finding("data folder", Verdict.DOUBTFUL, text, "make room, or set data_dir to a larger disk")
    return Finding("data folder", Verdict.GOOD, text)


def control_found() -> Finding:
    """Whether running apps can be reached by `regrow ps`, `ask` and `stop`."""
    try:
        return Finding("control sockets", Verdict.GOOD, f"in {make_runtime_dir()}")
    except RegrowError as error:
        return Finding("control sockets", Verdict.BAD, str(error), "without it `regrow run` does not start")


def shared_memory_found(folder: Path = Path("/dev/shm")) -> Finding:
    """Whether Ray's object store has room."""
    advice = "give the container more, such as: docker run --shm-size=2g; without it Ray uses the disk"
    try:
        total_bytes = shutil.disk_usage(folder).total
    except OSError:
        return Finding("shared memory", Verdict.DOUBTFUL, f"there is no {folder}", advice)
    text = f"{_told_bytes(total_bytes)} at {folder}"
    if total_bytes < SHARED_MEMORY_ADVISED_BYTES:
        return Finding("shared memory", Verdict.DOUBTFUL, text, advice)
    return Finding("shared memory", Verdict.GOOD, text)


def open_files_found(limits: Callable[[int], tuple[int, int]] = resource.getrlimit) -> Finding:
    """Whether a process may open enough files and sockets."""
    soft, hard = limits(resource.RLIMIT_NOFILE)
    shown = "unlimited" if soft == resource.RLIM_INFINITY else f"{soft:,}"
    text = f"a process may open {shown} (ulimit -n)"
    if soft != resource.RLIM_INFINITY and soft < OPEN_FILES_ADVISED:
        advice = f"run: ulimit -n {OPEN_FILES_ADVISED}"
        if hard != resource.RLIM_INFINITY and hard < OPEN_FILES_ADVISED:
            advice += f", once the administrator allows more than {hard:,}"
        return Finding("open files", Verdict.DOUBTFUL, text, advice)
    return Finding("open files", Verdict.GOOD, text)


def ports_found() -> Finding:
    """Whether something can be listened to on this machine; Ray and the embedded Redis choose free ports."""
    try:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
    except OSError as error:
        text = f"no port of 127.0.0.1 can be used ({error.strerror})"
        return Finding("ports", Verdict.BAD, text, "allow this user to listen on the loopback address")
    return Finding("ports", Verdict.GOOD, "free ones on 127.0.0.1")


def ray_folder_found() -> Finding:
    """Whether a local Ray can put its logs and sockets where it would."""
    if trouble := ray_folder.trouble():
        text, _, advice = trouble.rpartition("; ")
        return Finding("Ray folder", Verdict.BAD, text, advice)
    return Finding("Ray folder", Verdict.GOOD, f"below {ray_folder.root()[0]}")


def ray_address_found(address: RayAddress) -> Finding:
    """Whether a Ray answers where the config or RAY_ADDRESS says that there is one."""
    if trouble := address_trouble(address):
        text, _, advice = trouble.rpartition("; ")
        return Finding("Ray address", Verdict.BAD, text, advice)
    return Finding("Ray address", Verdict.GOOD, f"{address.text}, as {address.said_by} says")


def _is_needed_here(requirement: str) -> bool:
    """True without a marker, or with the only one that is used: the platform."""
    _, _, marker = requirement.partition(";")
    if "extra" in marker:
        return False
    platform = re.search(r"sys_platform\s*==\s*['\"](\w+)['\"]", marker)
    return platform is None or platform[1] == sys.platform


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def _told_bytes(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 30):.1f} GiB"
