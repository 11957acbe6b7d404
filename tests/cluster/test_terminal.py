"""What people see never holds a sign that their terminal would obey, whoever has written it and wherever it stands."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.live import Live
from rich.table import Table
from rich.text import Text

from regrow.cluster import cli_verb, views
from regrow.cluster.printable import printable, printable_lines
from regrow.cluster.terminal import console_for
from regrow.cluster.top import Choice, Look
from regrow.cluster.top_views import frame
from regrow.cluster.why import Found
from regrow.cluster.why_views import parts
from tests.cluster.test_cli import AGENT, ROOT

HOSTILE = "it \x1b[31mfell\x1b]0;title\x07\x9b2J\u202e!"
SHOWN = "it ·[31mfell·]0;title··2J·!"
ABOUT: dict[str, Any] = {"app": "desk", "engine": "inline", "pid": 7, "state": "running", "started_at": None}
PLAIN = {"restart": "permanent", "strategy": "", "intensity": ""}
TREE = [{**ROOT, **PLAIN, "children": [{**AGENT, **PLAIN, "last_reason": HOSTILE}]}]
NOW = datetime(2026, 11, 28, tzinfo=UTC)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_sign_that_would_steer_is_shown_as_one() -> None:
    assert printable(HOSTILE) == SHOWN
    assert printable("two\nlines\tand é, 日本") == "two lines and é, 日本"
    assert printable_lines("two\nl\x1bines") == "two\nl·ines"


@pytest.mark.parametrize("verb", ["ps", "tree", "top"])
def test_the_reason_of_a_death_steers_no_terminal(verb: str) -> None:
    to = io.StringIO()

    match verb:
        case "ps":
            views.show_app(ABOUT, TREE, to=to, now=NOW)
        case "tree":
            views.show_branches(TREE, to=to)
        case _:
            console_for(to).print(frame(None, Look(at_s=0.0, about=ABOUT, tree=TREE), Choice(), at=NOW, rows=40))

    assert SHOWN in to.getvalue()
    assert "\x1b" not in to.getvalue()


def test_what_nobody_has_made_printable_is_let_through_by_no_console_and_columns_stay() -> None:
    table = Table(box=None, pad_edge=False, header_style="")
    table.add_column("x", no_wrap=True)
    table.add_column("y", no_wrap=True)
    table.add_row(Text("a\x1b[2J\x9b"), "b")
    table.add_row(Text("a[2J"), "b")
    to = io.StringIO()

    console_for(to).print(table)

    _, hostile, harmless = to.getvalue().splitlines()
    assert hostile == harmless


def test_rich_itself_may_steer_it() -> None:
    to = Terminal()
    with Live(console=console_for(to), screen=True, auto_refresh=False) as live:
        live.update(Text("\x1bred", style="red"), refresh=True)

    assert "\x1b[?1049h" in to.getvalue()
    assert "\x1bred" not in to.getvalue()


def test_an_error_and_a_reply_steer_no_terminal_either(capsys: pytest.CaptureFixture[str]) -> None:
    terminal, pipe = Terminal(), io.StringIO()

    cli_verb.say(f"{HOSTILE}\nand more")
    views.show_reply(HOSTILE, to=terminal)
    views.show_reply(HOSTILE, to=pipe)

    assert capsys.readouterr().err == f"regrow: {SHOWN}\nand more\n"
    assert terminal.getvalue() == f"{SHOWN}\n"
    assert pipe.getvalue() == f"{HOSTILE}\n"  # for a program, which gets what was said


def test_what_became_of_an_agent_is_told_in_signs_that_can_be_shown() -> None:
    done = {"agent": "desk/clerk", "deed": "restart", "before": None, "after": None, "took_s": 0.1, "why": HOSTILE}

    assert views.deed_text({**done, "state": "stopped"}) == f"desk/clerk did not run and is stopped: {SHOWN}"


def test_a_sign_that_the_encoding_lacks_is_a_question_mark_and_no_error() -> None:
    kept = io.BytesIO()
    to = io.TextIOWrapper(kept, encoding="ascii")

    console_for(to).print(Text("desk · running"))

    to.flush()
    assert kept.getvalue() == b"desk ? running\n"


def test_into_a_pipe_no_line_ends_with_spaces_and_columns_stay() -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("agent", "ended with"):
        table.add_column(name, no_wrap=True)
    table.add_row("a", "a long reason")
    table.add_row("bcdefgh", "")
    to = io.StringIO()

    console_for(to).print(table)

    assert to.getvalue().splitlines() == ["agent    ended with", "a        a long reason", "bcdefgh"]


def test_in_a_narrow_terminal_times_and_ids_of_traces_are_whole() -> None:
    had = {"age_s": 0.0, "message": "AskForAnAnswer", "sender": "desk/inner/door", "fate": "crashed", "command": ""}
    to = Terminal()
    console = console_for(to)
    console.width = 60
    for part in parts(Found(agent="desk/clerk", looked_ms=1_764_000_000_000, messages=({**had, "trace": "ab" * 16},))):
        console.print(part)

    assert re.search(r"\d\d:\d\d:\d\d\b.*abababababab", to.getvalue())
