"""A file of records with nothing but texts in it."""

from __future__ import annotations

from pathlib import Path

from regrow.cluster.sqlite_file import Layout, SqliteFile, rows_in

LAYOUT = Layout(
    version=1, trimmed="notes", script="CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT);"
)
PLENTY = 100_000_000


def note(file: SqliteFile, *texts: str) -> None:
    """Writes texts."""
    with file.writing() as connection:
        connection.executemany("INSERT INTO notes (text) VALUES (?)", [(text,) for text in texts])


def notes_in(path: Path) -> list[str]:
    """The texts, in the order in which they were written."""
    return [text for (text,) in rows_in(path, "SELECT text FROM notes ORDER BY id")]
