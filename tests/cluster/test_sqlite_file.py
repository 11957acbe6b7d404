"""A bounded file of records: who reads and writes it at once, and what a disk that fails costs."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from regrow.cluster.sqlite_file import PAGE_BYTES, SqliteFile, rows_in
from tests.cluster.notes import LAYOUT, PLENTY, note, notes_in

SOON_S = 30.0
"""More than any of this takes, on a busy machine as well."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "desk" / "notes.sqlite"


def test_what_is_written_is_there_while_the_file_is_open_and_after_it(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)

    note(file, "one")
    note(file, "two")
    meanwhile = notes_in(path)
    file.close()

    assert meanwhile == notes_in(path) == ["one", "two"]
    assert sorted(each.name for each in path.parent.iterdir()) == [".gitignore", path.name]
    assert path.stat().st_mode & 0o777 == 0o600


def test_whoever_reads_a_file_while_it_is_made_finds_nothing_or_all_of_it(tmp_path: Path) -> None:
    files = [SqliteFile(tmp_path / str(number) / "notes.sqlite", LAYOUT, limit_bytes=PLENTY) for number in range(50)]

    def read() -> set[tuple[str, ...]]:
        seen: set[tuple[str, ...]] = set()
        for file in files:
            found = None
            while found != ("one",):
                found = tuple(notes_in(file.path)) if file.path.exists() else None
                seen |= {found or ()}
        return seen

    with ThreadPoolExecutor() as threads:
        reading = threads.submit(read)
        for file in files:
            note(file, "one")
        seen = reading.result(SOON_S)
    for file in files:
        file.close()

    assert seen == {(), ("one",)}


def test_of_a_write_that_fails_nothing_is_kept(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)

    with pytest.raises(sqlite3.IntegrityError), file.writing() as connection:
        connection.executemany("INSERT INTO notes (id, text) VALUES (1, ?)", [("half",), ("of the same id",)])
    note(file, "whole")
    file.close()

    assert notes_in(path) == ["whole"]


def test_the_oldest_rows_go_when_the_file_has_reached_its_limit(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=50 * PAGE_BYTES)

    for number in range(1_000):
        note(file, f"{number} {'x' * 1_000}")
    kept = [int(text.partition(" ")[0]) for text in notes_in(path)]
    size_bytes = path.stat().st_size
    file.close()

    assert kept == list(range(kept[0], 1_000))
    assert 100 < len(kept) < 250
    assert size_bytes < 2 * 50 * PAGE_BYTES


@pytest.mark.parametrize("content", [b"this is no database, but a text of some length" * 100, b"\0" * 5_000])
def test_a_file_that_can_not_be_read_is_put_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)

    with capture_logs() as logs:
        note(file, "one")
    file.close()

    assert notes_in(path) == ["one"]
    assert path.with_suffix(".broken").read_bytes() == content
    assert [line["event"] for line in logs] == ["a file can not be read, and is put aside"]


def test_a_file_of_another_version_is_put_aside(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)

    note(file, "one")
    file.close()

    assert notes_in(path) == ["one"]
    assert rows_in(path.with_suffix(".broken"), "PRAGMA user_version") == [(99,)]


def test_a_file_that_turns_out_to_be_damaged_costs_one_write_and_is_put_aside(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)
    for number in range(20):
        note(file, f"{number} {'x' * 1_000}")
    file.close()
    content = bytearray(path.read_bytes())
    content[PAGE_BYTES:] = b"\xff" * (len(content) - PAGE_BYTES)  # its first page, with the schema, is as it was
    path.write_bytes(content)

    with pytest.raises(sqlite3.DatabaseError, match="malformed"):
        note(file, "lost")
    note(file, "kept")
    file.close()

    assert notes_in(path) == ["kept"]
    assert path.with_suffix(".broken").exists()


def test_a_folder_that_can_not_be_made_is_an_error_of_that_write_and_the_next_one_is_tried_anew(path: Path) -> None:
    path.parent.write_text("a file where the folder should be")
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)

    with pytest.raises(OSError, match="exists"):
        note(file, "lost")
    path.parent.unlink()
    note(file, "kept")
    file.close()

    assert notes_in(path) == ["kept"]


def test_a_folder_that_is_removed_meanwhile_is_made_again(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)
    note(file, "gone")
    shutil.rmtree(path.parent)

    note(file, "kept")
    file.close()

    assert notes_in(path) == ["kept"]


def test_nobody_who_closes_the_file_waits_for_a_write_that_hangs_and_which_closes_it_at_its_end(path: Path) -> None:
    file, begun, go_on = SqliteFile(path, LAYOUT, limit_bytes=PLENTY), threading.Event(), threading.Event()

    def hang() -> None:
        with file.writing() as connection:
            connection.execute("INSERT INTO notes (text) VALUES ('late')")
            begun.set()
            go_on.wait(SOON_S)

    thread = threading.Thread(target=hang)
    thread.start()
    assert begun.wait(SOON_S)

    file.close()
    is_open_still = path.with_name(f"{path.name}-wal").exists()
    go_on.set()
    thread.join(SOON_S)

    assert is_open_still
    assert notes_in(path) == ["late"]
    assert sorted(each.name for each in path.parent.iterdir()) == [".gitignore", path.name]


FULL_DISK = """
import resource, signal, sqlite3, sys
from pathlib import Path
from regrow.cluster.sqlite_file import SqliteFile
from tests.cluster.notes import LAYOUT, PLENTY, note

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = SqliteFile(Path(sys.argv[1]), LAYOUT, limit_bytes=PLENTY)
note(file, "before")
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
for number in range(3):
    try:
        note(file, *["lost" * 1_000] * 100)
    except (sqlite3.Error, OSError) as error:
        print(type(error).__name__)
note(file, "small")
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
note(file, *["large" * 1_000] * 100)
file.close()
"""


@pytest.mark.slow
@pytest.mark.program
def test_a_full_disk_costs_the_batch_and_what_comes_when_there_is_room_again_is_kept(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(path)], capture_output=True, text=True, check=True)

    assert done.stdout == "OperationalError\n" * 3
    assert [text[:6] for text in notes_in(path)] == ["before", "small", *["largel"] * 100]


OTHER = """
import sys
from pathlib import Path
from regrow.cluster.sqlite_file import SqliteFile
from tests.cluster.notes import LAYOUT, PLENTY, note

file = SqliteFile(Path(sys.argv[1]), LAYOUT, limit_bytes=PLENTY)
note(file, "0")
print("begun", flush=True)
for number in range(1, 50):
    note(file, f"{number}")
file.close()
"""


@pytest.mark.slow
@pytest.mark.program
def test_two_processes_that_write_and_one_that_reads_lose_nothing(path: Path) -> None:
    file = SqliteFile(path, LAYOUT, limit_bytes=PLENTY)
    with subprocess.Popen([sys.executable, "-c", OTHER, str(path)], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "begun\n"
        seen: list[int] = []
        for number in range(50):
            note(file, f"{number}")
            seen.append(len(notes_in(path)))
    file.close()

    assert other.returncode == 0
    assert seen == sorted(seen)
    assert sorted(map(int, notes_in(path))) == sorted([*range(50), *range(50)])
