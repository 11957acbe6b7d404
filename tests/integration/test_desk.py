"""The research desk: how it reads documents, what it says to bad input, and a whole day of it on both engines."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))  # as Python does for whoever runs a file of that folder

import documents  # noqa: E402
import passages  # noqa: E402

sys.path.remove(str(EXAMPLES))  # or its programs would be modules that are installed, for whoever looks

from tests.integration.belongings import processes_in  # noqa: E402
from tests.integration.waiting import until_none, until_now  # noqa: E402

TIMEOUT_S = 120.0

GUIDE = """\
# Harbour guide

The harbour opens at six in the morning.

## Fees

A berth costs nine crowns a night.
Children moor for free.
"""


def written(folder: Path, **files: str | bytes) -> Path:
    """The folder with these files; an underscore in a name stands for its dot."""
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        path = folder / ".".join(name.rsplit("_", 1))
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def texts(folder: Path, name: str) -> dict[str, str]:
    """The passages of a document by source."""
    return {passage.source: passage.text for passage in documents.read(folder, name)}


def pdf_saying(*pages: str) -> bytes:
    """A PDF with one line of text on each page."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>"
        % (b" ".join(b"%d 0 R" % (4 + 2 * number) for number in range(len(pages))), len(pages)),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawn = b"BT /F1 12 Tf 72 720 Td (%s) Tj ET" % text.encode()
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Resources << /Font << /F1 3 0 R >> >> "
            b"/Contents %d 0 R >>" % (5 + 2 * number)
        )
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(drawn), drawn))
    written_out = b"%PDF-1.4\n"
    offsets: list[int] = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(written_out))
        written_out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return (
        written_out
        + b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
        + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (count, len(written_out))
    )


# ---- reading and cutting -------------------------------------------------------------------------


def test_a_passage_names_its_line_and_stands_under_its_headings(tmp_path: Path) -> None:
    filler = "The pier is long and made of oak. " * 15

    found = texts(written(tmp_path, guide_md=GUIDE.replace("## Fees", f"{filler}\n\n## Fees")), "guide.md")

    assert list(found) == ["guide.md:3", "guide.md:9"]
    assert found["guide.md:9"].startswith("# Harbour guide › Fees\n\nA berth costs nine crowns")


def test_small_sections_share_a_passage_in_which_each_keeps_its_heading(tmp_path: Path) -> None:
    (found,) = texts(written(tmp_path, guide_md=GUIDE), "guide.md").values()

    assert "# Harbour guide\n\nThe harbour opens" in found
    assert "# Harbour guide › Fees\n\nA berth" in found


def test_underlined_headings_of_plain_text_count_by_their_first_use(tmp_path: Path) -> None:
    text = "=====\nGuide\n=====\n\nFees\n----\n\nNine crowns.\n\n.. _far: http://example.org\n"

    assert texts(written(tmp_path, guide_rst=text), "guide.rst") == {"guide.rst:8": "# Guide › Fees\n\nNine crowns."}


def test_a_comment_sign_in_plain_text_and_in_code_is_no_heading(tmp_path: Path) -> None:
    folder = written(tmp_path, a_txt="# not a heading\n", b_md="```sh\n# not a heading\n\nls\n```\n")

    assert texts(folder, "a.txt") == {"a.txt:1": "# not a heading"}
    assert texts(folder, "b.md") == {"b.md:1": "```sh\n# not a heading\n\nls\n```"}


def test_front_matter_is_not_read(tmp_path: Path) -> None:
    folder = written(tmp_path, a_md="---\ntitle: Harbour\n---\n\nIt opens at six.\n")

    assert texts(folder, "a.md") == {"a.md:5": "It opens at six."}


def test_html_is_read_without_scripts_styles_and_navigation(tmp_path: Path) -> None:
    page = """<html><head><title>Harbour</title><style>p {color: red}</style></head><body>
<script>var secret = "hidden";</script><nav>Home</nav>
<h1>Harbour &amp; pier¶</h1>
<p>It opens
at <b>six</b>.</p><ul><li>Oak</li><li><p>Rope</p></li></ul>
<pre>open
  gate</pre><table><tr><td>berth</td><td>9</td></tr></table></body></html>"""

    found = texts(written(tmp_path, page_html=page), "page.html")

    assert found == {
        "page.html:4": "# Harbour & pier\n\nIt opens at six.\n\n- Oak\n\n- Rope\n\n```\nopen\n  gate\n```\n\nberth | 9"
    }


def test_html_that_is_cut_off_or_never_closes_its_navigation_keeps_its_text(tmp_path: Path) -> None:
    page = "<nav>Home<h1>Pier</h1><p>It is <b>long"

    assert texts(written(tmp_path, page_htm=page), "page.htm") == {"page.htm:1": "# Pier\n\nIt is long"}


def test_html_is_decoded_as_it_declares(tmp_path: Path) -> None:
    page = '<meta charset="iso-8859-1"><p>Café'.encode("latin-1")

    assert list(texts(written(tmp_path, page_html=page), "page.html").values()) == ["Café"]


@pytest.mark.slow  # the import of pypdf alone
def test_a_pdf_is_read_by_pages(tmp_path: Path) -> None:
    folder = written(tmp_path, guide_pdf=pdf_saying("The harbour opens at six.", "Nine crowns a night. " * 70))

    found = texts(folder, "guide.pdf")

    assert found["guide.pdf page 1"] == "The harbour opens at six."
    assert "Nine crowns a night." in found["guide.pdf page 2"]


def test_what_would_drive_a_terminal_is_taken_out(tmp_path: Path) -> None:
    assert texts(written(tmp_path, a_txt="red \x1b[31m\x07 alert\x9b2J"), "a.txt") == {"a.txt:1": "red  [31m  alert 2J"}


def test_a_long_list_is_cut_between_its_items_and_code_keeps_its_fences() -> None:
    items = "\n".join(f"- item {number} says something of its own" for number in range(60))
    code = "```python\n" + "\n".join(f"call({number})" for number in range(300)) + "\n```"

    listed = [text for _, text in passages.pieces(items)]
    coded = [text for _, text in passages.pieces(code)]

    assert len(listed) > 1 and all(text.startswith("- item") and text.endswith("own") for text in listed)
    assert len(coded) > 1 and all(text.startswith("```") and text.endswith("```") for text in coded)


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]) | st.sampled_from("\n\n  #-=`.x"))


@pytest.mark.slow
@given(WORDS.map(lambda text: text * 40), st.booleans())
def test_no_word_is_lost_and_no_passage_is_much_longer_than_its_limit(text: str, is_markdown: bool) -> None:
    blocks = list(passages.text_blocks(text, is_markdown=is_markdown))

    for block in blocks:
        parts = list(passages.pieces(block.text))
        assert all(len(part) <= passages.PASSAGE_CHARS + 10 for _, part in parts)
        if not block.text.lstrip().startswith(("```", "~~~")):
            assert "".join("".join(part for _, part in parts).split()) == "".join(block.text.split())


# ---- finding, and what can not be read -----------------------------------------------------------


def test_documents_are_found_below_the_folder_and_the_rest_is_counted(tmp_path: Path) -> None:
    written(tmp_path, b_md="b", pic_png=b"\x89PNG", README="read me")
    written(tmp_path / "sub", a_html="a")
    written(tmp_path / ".hidden", c_md="c")
    written(tmp_path / "node_modules", d_md="d")
    (tmp_path / "gone.md").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to(tmp_path / "sub")

    library = documents.find(tmp_path)

    assert library.names == ("README", "b.md", "sub/a.html")
    assert set(library.skipped) == {
        ("gone.md", "a broken link"),
        ("linked/", "is a link; give the folder it leads to"),
    }
    assert library.others == ((".png", 1),)


def test_a_library_changes_its_version_when_a_document_changes(tmp_path: Path) -> None:
    first = documents.find(written(tmp_path, a_md="six"))
    again = documents.find(tmp_path)
    edited = documents.find(written(tmp_path, a_md="seven"))

    assert first.version == again.version != edited.version


def test_a_name_that_would_drive_a_terminal_is_skipped_and_shown_harmlessly(tmp_path: Path) -> None:
    written(tmp_path, a_md="six")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\x1b[2J\xff.md")).write_text("b", encoding="utf-8")

    library = documents.find(tmp_path)

    assert library.names == ("a.md",)
    assert library.skipped[0][0] == r"b\x1b[2J\udcff.md"


def test_a_folder_below_that_can_not_be_read_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, a_md="six")
    written(tmp_path / "locked", b_md="b")
    scan = os.scandir

    def refuse_locked(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse_locked)

    assert documents.find(tmp_path).skipped == (("locked/", "can not be read (Permission denied)"),)
    with pytest.raises(documents.NoDocuments, match="Permission denied"):
        documents.find(tmp_path / "locked")


def test_documents_beyond_the_limit_are_not_dropped_silently(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "LIMIT_DOCUMENTS", 2)

    library = documents.find(written(tmp_path, a_md="a", b_md="b", c_md="c", d_md="d"))

    assert library.names == ("a.md", "b.md")
    assert library.skipped == (("c.md", "and all after it: more than 2 documents; give a smaller folder"),)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("a.txt", b"\x00\x01", "is binary, not text"),
        ("a.txt", "Café".encode("latin-1"), "is not UTF-8 text; convert it"),
        ("a.html", b"<meta charset=klingon><p>x", "declares the unknown encoding klingon"),
        ("a.md", b" \n", "holds no text"),
        ("a.md", b"x" * 2_000, "more than"),
        pytest.param("a.pdf", b"%PDF-1.4 broken", "is no PDF that can be read", marks=pytest.mark.slow),
        pytest.param("a.pdf", pdf_saying(""), "a scan needs OCR", marks=pytest.mark.slow),
    ],
)
def test_a_bad_document_is_refused_with_the_reason(
    name: str, content: bytes, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(documents, "LIMIT_DOCUMENT_BYTES", 1_500)

    with pytest.raises(documents.Unreadable, match=reason):
        documents.read(tmp_path, name)


def test_without_the_extra_a_pdf_is_refused_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pypdf", None)

    with pytest.raises(documents.Unreadable, match=r"pip install 'regrow\[pdf\]'"):
        documents.read(written(tmp_path, a_pdf=b"%PDF"), "a.pdf")


# ---- the whole desk ------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """The environment without what would name models or settings."""
    ours = ("REGROW_", "OPENAI_", "RAY_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | more


def desk(at: Path, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the desk in a folder, to its end."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "desk.py"), *arguments],
        check=False,
        cwd=at,
        env=environment() if env is None else env,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


def desk_at_a_terminal(at: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """The same with its errors on a terminal; gives the exit code, and what the terminal was told."""
    ours, theirs = pty.openpty()
    shown = bytearray()

    def watch() -> None:
        with suppress(OSError):  # what Linux says once nobody has the other end any more
            while more := os.read(ours, 65_536):
                shown.extend(more)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [sys.executable, str(EXAMPLES / "desk.py"), *arguments]
    env = (environment() if env is None else env) | {"TERM": "xterm", "COLUMNS": "120"}
    with subprocess.Popen(command, cwd=at, env=env, stdout=subprocess.DEVNULL, stderr=theirs) as process:
        os.close(theirs)
        code = process.wait(TIMEOUT_S)
    watcher.join(TIMEOUT_S)
    os.close(ours)
    return code, shown.decode(errors="replace")


def nothing_runs_in(at: Path) -> None:
    """Fails where a process still works in the folder some seconds after the desk has ended."""
    until_none(lambda: processes_in(at), "processes of the desk")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "arguments", "said"),
    [
        ({}, ("--docs", "nowhere"), "there is no folder nowhere; give one that holds"),
        ({}, ("--docs", "docs"), "the folder docs is empty; give one"),
        ({"_hidden": "x"}, ("--docs", "docs"), "the folder docs holds only what is hidden or passed over; give one"),
        ({"a_md": "x"}, ("--docs", "docs/a.md"), "docs/a.md is a file; give the folder that holds it"),
        ({"a_png": b"\x89PNG", "b_bin": b"\0"}, ("--docs", "docs"), "only other files (1 .png, 1 .bin); give a folder"),
        ({"a_txt": b"\0", "b_txt": b"\0"}, ("--docs", "docs"), "no document in"),
        ({"a_md": "x"}, ("--docs", "docs", "--ask", "x" * 3_000), "a question is one line of at most 2,000 characters"),
        ({"a_md": "x"}, ("--docs", "docs", "--engine", "steam"), "invalid choice: 'steam'"),
        ({}, ("--docs", "~nobody-of-this-name/x"), "names the home of a user who is not here"),
        ({}, ("--docs", "caf\udce9"), "has signs in its name that can not be shown; rename it"),
    ],
    ids=["missing", "empty", "hidden", "file", "binaries", "unreadable", "question", "engine", "home", "name"],
)
def test_bad_input_gives_one_sentence_and_exit_2(
    files: dict[str, str | bytes], arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    written(tmp_path / "docs", **files)

    done = desk(tmp_path, "--engine", "inline", "--json", *arguments)

    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in last and "Traceback" not in done.stderr
    nothing_runs_in(tmp_path)


@pytest.mark.slow
def test_an_unknown_setting_gives_one_sentence_and_exit_2(tmp_path: Path) -> None:
    written(tmp_path, regrow_toml="[models]\nsmal = 1\n", a_md="x")

    done = desk(tmp_path, "--engine", "inline", "--docs", ".")

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("desk: ") and "models.small" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.redis
def test_a_day_inline_answers_with_sources_skips_what_is_bad_and_doubles_nothing(tmp_path: Path) -> None:
    written(tmp_path / "docs", guide_md=GUIDE, bad_txt=b"\xff\xfe\xff", pic_png=b"\x89PNG")
    asked = ("--engine", "inline", "--docs", "docs", "--ask", "What does a berth cost?", "--ask", "", "--json")

    first = desk(tmp_path, *asked)
    second = desk(tmp_path, *asked)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    said, again = json.loads(first.stdout), json.loads(second.stdout)
    (result,) = said["results"]
    assert result["found"] and result["sources"] == ["guide.md:3"]
    assert {"text": "A berth costs nine crowns a night.", "source": "guide.md:3"} in result["quotes"]
    assert (said["questions"], said["asks"], said["reasks"], said["answers"]) == (1, 1, 0, 1)
    assert [item["document"] for item in said["skipped"]] == ["bad.txt"]
    assert said["usage"]["large"]["calls"] == again["usage"]["large"]["calls"] == 1
    assert said["usage"]["small"]["calls"] == again["usage"]["small"]["calls"] == 1
    assert (said["new_passages"], again["new_passages"], again["passages"]) == (1, 0, 1)
    assert said["answers_remembered"] == again["answers_remembered"] == 1
    assert "extractive" in first.stderr and "bad.txt" in first.stderr
    assert first.stderr.rstrip().splitlines()[-1].strip().startswith("└── embeddings ")  # it ends with the trace's tree
    assert said["trace_id"] in first.stderr and said["trace_id"] != again["trace_id"]
    nothing_runs_in(tmp_path)


@pytest.mark.slow
@pytest.mark.redis
def test_make_run_takes_a_folder_and_a_question_as_they_were_typed(tmp_path: Path) -> None:
    written(tmp_path / "my docs for $5", guide_md=GUIDE)
    question = "What does a 'berth' cost in $HOME, and $(CURDIR)?"
    command = [
        "make",
        "--no-print-directory",
        "run",
        f"DOCS={tmp_path / 'my docs for $5'}",
        f"ASK={question}",
        "ARGS=--engine inline --json",
    ]

    done = subprocess.run(
        command,
        check=False,
        cwd=EXAMPLES.parent,
        env=environment(REGROW_DATA_DIR=str(tmp_path / "data")),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    assert done.returncode == 0, done.stderr
    (result,) = json.loads(done.stdout)["results"]
    assert (result["question"], result["sources"]) == (question, ["guide.md:3"])


@pytest.mark.slow
@pytest.mark.redis
def test_at_a_terminal_a_bar_shows_how_many_documents_are_read(tmp_path: Path) -> None:
    written(tmp_path / "docs", guide_md=GUIDE, more_md="A berth is cheap, as everybody says.")

    code, shown = desk_at_a_terminal(tmp_path, "--engine", "inline", "--docs", "docs", "--ask", "A berth?", "--json")

    assert code == 0, shown
    assert "reading" in shown and "━" in shown and "2/2" in shown


DONE = "data: [DONE]\n\n"


class ModelServer(BaseHTTPRequestHandler):
    """Speaks as much of chat completions as the desk needs; it cites the second passage before the first."""

    asked: ClassVar[threading.Event] = threading.Event()
    answers: ClassVar[threading.Event] = threading.Event()

    def do_POST(self) -> None:
        is_streamed = json.loads(self.rfile.read(int(self.headers["content-length"]))).get("stream")
        self.asked.set()
        if not self.answers.wait(TIMEOUT_S):
            return
        content = 'A berth is cheap [2], for it "costs nine crowns a night" [1], as all know [7].'
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
        if is_streamed:
            chosen: list[dict[str, Any]] = [{"delta": {"content": word}} for word in re.split("(?= )", content)]
            chosen.append({"delta": {}, "finish_reason": "stop"})
            parts = [{"choices": [{"index": 0, **each}]} for each in chosen] + [{"choices": [], "usage": usage}]
            self.send("text/event-stream", "".join(f"data: {json.dumps(part)}\n\n" for part in parts) + DONE)
        else:
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": content}}
            self.send("application/json", json.dumps({"choices": [choice], "usage": usage}))

    def send(self, kind: str, body: str) -> None:
        """Answers."""
        raw = body.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        with suppress(BrokenPipeError):  # a desk that was stopped does not wait for its answer
            self.wfile.write(raw)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the test's output is not its place."""


@contextmanager
def model_server(*, answers: bool) -> Iterator[dict[str, str]]:
    """The environment of a desk whose models are at a server of ours, which may never answer."""
    ModelServer.asked.clear()
    ModelServer.answers.clear()
    if answers:
        ModelServer.answers.set()
    with ThreadingHTTPServer(("127.0.0.1", 0), ModelServer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield environment(
                OPENAI_BASE_URL=f"http://127.0.0.1:{server.server_port}/v1", OPENAI_MODEL="m", no_proxy="127.0.0.1"
            )
        finally:
            ModelServer.answers.set()
            server.shutdown()
            thread.join()


@pytest.mark.slow
@pytest.mark.redis
def test_at_a_terminal_an_answer_is_shown_as_it_is_written(tmp_path: Path) -> None:
    written(tmp_path / "docs", guide_md=GUIDE, more_md="A berth is cheap, as everybody says.")

    with model_server(answers=True) as env:
        arguments = ("--engine", "inline", "--docs", "docs", "--ask", "What does a berth cost?", "--json")
        code, shown = desk_at_a_terminal(tmp_path, *arguments, env=env)

    assert code == 0, shown
    assert "cheap [2]" in shown  # as the model writes it
    assert "cheap [1]" in shown.rpartition("cheap [2]")[2]  # its citations checked, behind it


@pytest.mark.slow
@pytest.mark.redis
def test_a_written_answer_cites_sources_by_numbers_that_its_reader_can_follow(tmp_path: Path) -> None:
    written(tmp_path / "docs", guide_md=GUIDE, more_md="A berth is cheap, as everybody says.")

    with model_server(answers=True) as env:
        done = desk(
            tmp_path, "--engine", "inline", "--docs", "docs", "--ask", "What does a berth cost?", "--json", env=env
        )

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    (result,) = said["results"]
    assert set(result["sources"]) == {"guide.md:3", "more.md:1"}
    assert result["text"].startswith("A berth is cheap [1], for it") and 'night" [2], as all know [7]' in result["text"]
    assert said["models"] == {"small": "m", "large": "m"}
    assert said["usage"]["large"]["input_tokens"] == 100


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder for a desk and the Ray of its own, with a short name: the paths of Ray's sockets are limited."""
    folder = Path(tempfile.mkdtemp(prefix="d-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


RAYS_OWN_CRASH = "Unhandled exception: St19bad_optional_access"
"""What Ray 2.60 now and then writes for a process that it is told to kill while a call arrives there (once in some
twenty runs); that process is to end anyway."""


def interrupt(group: int, number: signal.Signals) -> None:
    """Sends a signal as a terminal does: everybody in the foreground gets it."""
    with suppress(ProcessLookupError):
        os.killpg(group, number)


@pytest.mark.slow
@pytest.mark.redis
@pytest.mark.parametrize("engine", ["inline", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.again])])
def test_ctrl_c_stops_in_order_and_leaves_nothing(engine: str, short: Path) -> None:
    written(short / "docs", guide_md=GUIDE)
    command = [sys.executable, str(EXAMPLES / "desk.py"), "--engine", engine, "--docs", "docs", "--ask", "A berth?"]

    with model_server(answers=False) as env:
        with subprocess.Popen(
            command,
            cwd=short,
            env=env | {"RAY_TMPDIR": str(short)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                until_now(lambda: ModelServer.asked.is_set() or process.poll() is not None, "asked", within_s=TIMEOUT_S)
                interrupt(process.pid, signal.SIGINT)
                _, errors = process.communicate(timeout=TIMEOUT_S)
            finally:
                interrupt(process.pid, signal.SIGKILL)

    if RAYS_OWN_CRASH in errors:
        errors = "".join(line for line in errors.splitlines(keepends=True) if "(RayHost pid=" not in line)
    assert (process.returncode, errors) == (130, "desk: stopped; what was read stays remembered\n")
    nothing_runs_in(short)
    assert {path.name for path in short.iterdir()} == {"docs", ".regrow"}


@pytest.mark.slow
@pytest.mark.ray
def test_a_day_on_ray_survives_the_kill_of_its_analyst(short: Path) -> None:
    written(short / "docs", guide_md=GUIDE)
    asked = ("When does the harbour open?", "What does a berth cost?", "Who moors for free?")
    arguments = ("--docs", "docs", "--json", *(part for text in asked for part in ("--ask", text)))

    done = desk(short, *arguments, env=environment(RAY_TMPDIR=str(short)))

    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["questions"], said["asks"], said["reasks"], said["answers"], said["restarts"]) == (3, 4, 1, 3, 1)
    assert said["kill"]["agent"] == "desk/analyst" and "SIGKILL" in said["kill"]["reason"]
    assert said["kill"]["next_life"] > said["kill"]["life"] and said["kill"]["next_pid"] != said["kill"]["pid"]
    first_life, next_life = said["kill"]["begun_as"]
    assert first_life == next_life != ""
    assert said["kill"]["asker_told_after_ms"] <= said["kill"]["answered_after_ms"]
    assert [result["question"] for result in said["results"]] == list(asked)
    assert "nine crowns" in str(said["results"][1]["quotes"])
    assert said["messages"] > 0 and said["dead_letters"] == 0
    assert {tier: used["calls"] for tier, used in said["usage"].items()} == {"small": 3, "large": 3}
    shown = re.sub(r"\s+", " ", done.stderr)  # what people see goes there when stdout is for JSON
    for seen in (
        f"its process {said['kill']['pid']} is killed with SIGKILL",
        "the asker gets AskFailed: Killed (",
        f"desk/analyst#{said['kill']['next_life']} is back in process {said['kill']['next_pid']}: the asker knew after",
        "questions 3 ",
        "asks 4 ",
        "re-asks 1 ",
        "answers 3 ",
        "restarts 1 ",
        "dead letters 0 ",
        "large model: 3 calls, ",
        "small model: 3 calls, ",
        f"regrow trace {said['trace_id'][:8]} draws it again",
        "└── send desk/analyst",  # asked again under the same command id, it stays in its trace
        "again, after that at +0 µs",
        "execute_tool search",
        "search_memory",
        "chat extractive",
    ):
        assert seen in shown
    nothing_runs_in(short)
    assert {path.name for path in short.iterdir()} == {"docs", ".regrow"}
