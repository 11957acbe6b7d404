"""Documents as passages: finds them in a folder and reads Markdown, text, reStructuredText, HTML and PDF.

The source of a passage is its document's path below the folder, and the line or page where it begins.
"""

from __future__ import annotations

import codecs
import logging
import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from passages import Block, Passage, html_blocks, packed, pieces, text_blocks

from regrow import Refused

LIMIT_DOCUMENT_BYTES = 10_000_000
LIMIT_DOCUMENTS = 5_000
LIMIT_PDF_PAGES = 1_000

MARKDOWN = frozenset({".md", ".markdown"})
TEXT = frozenset({".txt", ".rst", ""})
"""A file without a suffix, such as README, is taken for text."""
HTML = frozenset({".html", ".htm", ".xhtml"})
PDF = frozenset({".pdf"})
KINDS = MARKDOWN | TEXT | HTML | PDF
KNOWN = ".md, .txt, .rst, .html and .pdf"

_PASSED_OVER = frozenset({"node_modules", "__pycache__"})


class NoDocuments(ValueError):
    """The folder holds nothing that could be read; the text says why and what to do."""


class Unreadable(Refused):
    """One document can not be read. A refusal: the reader that says so lives, and goes on with the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Library:
    """The documents of a folder: `names` are paths below it; `skipped` has a reason for each that is left out."""

    folder: Path
    names: tuple[str, ...]
    version: str
    """Changes when a document is added, edited or removed, so that none is quoted as it was before."""
    skipped: tuple[tuple[str, str], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    """How many files of other kinds there are, by suffix."""


# ---- finding -------------------------------------------------------------------------------------


def find(folder: Path, *, only: Collection[str] = ()) -> Library:
    """Gives the documents of a folder and of the folders in it, hidden ones left out.

    `only` names the entries of the folder itself to look at, where not all of them are meant. Raises NoDocuments.
    """
    _check_folder(folder)
    names: list[str] = []
    skipped: list[tuple[str, str]] = []
    others: Counter[str] = Counter()
    # How it is cut is part of the version: cut in another way, the same documents are other passages.
    versions = sha256(os.fsencode(folder.resolve()) + Path(__file__).with_name("passages.py").read_bytes())
    for path in _files(folder, only, skipped):
        name = path.relative_to(folder).as_posix()
        if path.suffix.lower() not in KINDS:
            others[_shown(path.suffix.lower())] += 1
        elif not name.isprintable():
            skipped.append((_shown(name), "its name has signs that can not be shown; rename it"))
        elif (status := _status(path)) is None or not stat.S_ISREG(status.st_mode):
            skipped.append((name, _why_no_file(path, status)))
        elif len(names) == LIMIT_DOCUMENTS:
            skipped.append((name, f"and all after it: more than {LIMIT_DOCUMENTS:,} documents; give a smaller folder"))
            break
        else:
            names.append(name)
            versions.update(f"{name}\n{status.st_size} {status.st_mtime_ns}\n".encode())
    if not names:
        raise NoDocuments(_why_none(folder, skipped, others))
    return Library(
        folder=folder.resolve(),
        names=tuple(names),
        version=versions.hexdigest()[:16],
        skipped=tuple(skipped),
        others=tuple(others.most_common()),
    )


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except OSError:
        return None


def _why_no_file(path: Path, status: os.stat_result | None) -> str:
    if status is not None:
        return "no ordinary file"
    return "a broken link" if path.is_symlink() else "can not be looked at; mind the rights of its folder"


def _check_folder(folder: Path) -> None:
    if not str(folder).isprintable():
        raise NoDocuments(f"the folder {_shown(str(folder))} has signs in its name that can not be shown; rename it")
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        raise NoDocuments(f"there is no folder {folder}; give one that holds {KNOWN} files") from None
    except NotADirectoryError:
        raise NoDocuments(f"{folder} is a file; give the folder that holds it") from None
    except OSError as error:
        raise NoDocuments(
            f"the folder {folder} can not be read ({error.strerror}); mend that or give another"
        ) from None


def _files(folder: Path, only: Collection[str], skipped: list[tuple[str, str]]) -> Iterator[Path]:
    def unreadable(error: OSError) -> None:
        skipped.append(
            (f"{_shown(str(Path(error.filename).relative_to(folder)))}/", f"can not be read ({error.strerror})")
        )

    for place, folders, files in os.walk(folder, onerror=unreadable):
        top = only if Path(place) == folder else ()
        wanted = {name for name in (*folders, *files) if not name.startswith(".") and (not top or name in top)}
        folders[:] = sorted(wanted.intersection(folders) - _PASSED_OVER)
        for name in folders:
            if (linked := Path(place, name)).is_symlink():  # it may lead in a circle, or out of the folder
                skipped.append(
                    (f"{_shown(str(linked.relative_to(folder)))}/", "is a link; give the folder it leads to")
                )
        yield from (Path(place, name) for name in sorted(wanted.intersection(files)))


def _shown(name: str) -> str:
    """The name without what a terminal would obey or can not show."""
    return name if name.isprintable() else repr(name)[1:-1]


def _why_none(folder: Path, skipped: list[tuple[str, str]], others: Counter[str]) -> str:
    if skipped:
        return none_readable(folder, skipped)
    if others:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(4))
        return f"{folder} holds no documents, only other files ({kinds}); give a folder with {KNOWN} files"
    state = "is empty" if not any(folder.iterdir()) else "holds only what is hidden or passed over"
    return f"the folder {folder} {state}; give one that holds {KNOWN} files"


def none_readable(folder: Path, skipped: Sequence[tuple[str, str]]) -> str:
    """One sentence for a folder in which every document was skipped."""
    name, reason = skipped[0]
    return f"no document in {folder} can be read ({name}: {reason}); give a folder with {KNOWN} files"


# ---- reading -------------------------------------------------------------------------------------


def read(folder: Path, name: str) -> tuple[Passage, ...]:
    """Gives the passages of one document. Raises Unreadable; blocks, so call it in a thread."""
    path = folder / name
    kind = path.suffix.lower()
    try:
        size_bytes = path.stat().st_size
        if size_bytes > LIMIT_DOCUMENT_BYTES:
            millions = f"{size_bytes / 1e6:,.1f} MB, more than {LIMIT_DOCUMENT_BYTES / 1e6:,.0f} MB"
            raise Unreadable(f"has {millions}; split it")
        if kind in PDF:
            passages = tuple(packed(_pdf_blocks(path), f"{name} page "))
        else:
            text = _decoded(path.read_bytes(), declares_charset=kind in HTML)
            blocks = html_blocks(text) if kind in HTML else text_blocks(text, is_markdown=kind in MARKDOWN)
            passages = tuple(packed(blocks, f"{name}:"))
    except OSError as error:
        raise Unreadable(f"can not be read ({error.strerror})") from error
    if not passages:
        raise Unreadable("holds no text; a scan needs OCR first" if kind in PDF else "holds no text")
    return passages


_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""All but tab and line feed. Nothing of them helps, and some would drive the terminal that shows a quote."""

_CHARSET = re.compile(rb"""<(?:meta|\?xml)[^>]*?(?:charset|encoding)\s*=\s*["']?([\w.:-]+)""", re.IGNORECASE)


def _decoded(raw: bytes, *, declares_charset: bool) -> str:
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    declared = _CHARSET.search(raw[:2_048]) if declares_charset else None
    if declared:
        encoding = declared.group(1).decode()
    elif encoding != "utf-16" and b"\0" in raw:
        raise Unreadable("is binary, not text")
    try:
        text = raw.decode(encoding)
    except LookupError:
        raise Unreadable(f"declares the unknown encoding {encoding}") from None
    except UnicodeError:
        wanted = "UTF-8" if encoding == "utf-8-sig" else encoding
        raise Unreadable(f"is not {wanted} text; convert it, for example with: iconv -t utf-8") from None
    return _CONTROLS.sub(" ", text.lstrip("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))


def _pdf_blocks(path: Path) -> Iterator[Block]:
    try:
        from pypdf import PdfReader
        from pypdf.errors import PyPdfError
    except ImportError:
        raise Unreadable("reading PDF needs an extra; install it with: pip install 'regrow[pdf]'") from None
    logging.getLogger("pypdf").setLevel(logging.CRITICAL)  # what matters of its complaints is in the error below
    try:
        pages = PdfReader(path).pages
        if len(pages) > LIMIT_PDF_PAGES:
            raise Unreadable(f"has {len(pages):,} pages, more than {LIMIT_PDF_PAGES:,}; split it")
        for number, page in enumerate(pages, start=1):
            text = re.sub(r"(?<=[a-z])-\n(?=[a-z])", "", _CONTROLS.sub(" ", page.extract_text()))
            for _, piece in pieces(text):
                yield Block(number, piece)
    except PyPdfError as error:
        raise Unreadable(f"is no PDF that can be read ({str(error).rstrip('.') or type(error).__name__})") from error
