"""What is decided about MCP servers without one: cut lines, floods, changes, schemas, the lock file, options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.types import Tool

from regrow import Agent
from regrow.actors.mcp_errors import InvalidLock, NotPinned
from regrow.actors.mcp_lock import Change, ChangeKind, Pinned, changes, read_pins, write_pins
from regrow.actors.mcp_result import pins_of
from regrow.actors.mcp_schema import Shape
from regrow.actors.mcp_server import mcp
from regrow.actors.mcp_tool import tool_names
from regrow.actors.mcp_wire import UNASKED_BURST, UNASKED_PER_S, Flooded, Lines, TooLong, Unasked
from regrow.actors.tool_errors import InvalidTool
from regrow.runtime.errors import CodeNotImportable, Misuse
from regrow.supervisors import child

# ---- lines ---------------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_come_out_as_they_went_in_however_they_are_cut(sent: list[bytes], data: st.DataObject) -> None:
    lines, found = Lines(limit_bytes=100), list[bytes | TooLong]()
    left = b"".join(line + b"\n" for line in sent)

    while left:
        size = data.draw(st.integers(1, len(left)))
        found += lines.feed(left[:size])
        left = left[size:]

    assert found == sent


@given(st.integers(101, 5_000), st.integers(1, 700), st.booleans())
def test_a_line_over_the_limit_is_dropped_and_says_which_call_it_answers(size: int, cut: int, first: bool) -> None:
    body = b'"result":"' + b"x" * size + b'"'
    line = b'{"jsonrpc":"2.0","id":7,' + body + b"}" if first else b"{" + body + b',"jsonrpc":"2.0","id":7}'
    lines, found = Lines(limit_bytes=100), list[bytes | TooLong]()

    for start in range(0, len(line), cut):
        found += lines.feed(line[start : start + cut])
    found += lines.feed(b"\nnext\n")

    assert found == [TooLong(len(line), 7), b"next"]


def test_a_line_without_end_is_a_flood() -> None:
    lines = Lines(limit_bytes=100, dropped_bytes=10_000)

    for _ in range(20):
        lines.feed(b"x" * 500)

    with pytest.raises(Flooded, match="more than 10,000 bytes as one message"):
        lines.feed(b"x" * 1_000)


@pytest.mark.parametrize("line", [b'{"result":{"id":3,"text":"', b'{"method":"x","params":{"id":3,"text":"'])
def test_an_id_inside_of_what_is_said_is_not_taken_for_that_of_the_call(line: bytes) -> None:
    (found,) = Lines(limit_bytes=100).feed(line + b"x" * 1_000 + b'"}}\n')

    assert isinstance(found, TooLong) and found.id is None


def test_what_nobody_asked_for_is_borne_at_a_rate_and_in_a_burst_and_not_beyond() -> None:
    bucket = Unasked(0.0)
    for second in range(100):
        for _ in range(int(UNASKED_PER_S)):
            bucket.took(0, float(second))

    for _ in range(int(UNASKED_BURST)):
        bucket.took(0, 100.0)

    with pytest.raises(Flooded, match="200 messages a second"):
        bucket.took(0, 100.0)


def test_a_long_message_that_nobody_asked_for_counts_for_many() -> None:
    with pytest.raises(Flooded):
        Unasked(0.0).took(10_000_000, 0.0)


# ---- changes -------------------------------------------------------------------------------------

ECHO = Pinned(name="echo", description="Says it.", schema={"type": "object", "properties": {"a": {"type": "string"}}})


@pytest.mark.parametrize(
    ("now", "places"),
    [
        (Pinned(name="echo", description="Says more.", schema=ECHO.schema), ("description",)),
        (Pinned(name="echo", description="Says it.", schema={"type": "object"}), ("input.properties",)),
        (Pinned(name="echo", description="Says it.", schema={**ECHO.schema, "x": True}), ("input.x",)),
        (Pinned(name="echo", description="Says it.", schema=ECHO.schema, output={}), ("output",)),
    ],
)
def test_a_change_says_where_it_is_and_not_what_is_said_there(now: Pinned, places: tuple[str, ...]) -> None:
    assert changes({"echo": ECHO}, {"echo": now}) == (Change(tool="echo", kind=ChangeKind.CHANGED, places=places),)
    assert changes({"echo": ECHO}, {"echo": ECHO}) == ()


def test_true_and_one_are_two_things_in_a_schema() -> None:
    one, true = (Pinned(name="t", description="", schema={"const": value}) for value in (1, True))

    assert one.hash != true.hash
    assert [str(each) for each in changes({"t": one}, {"t": true})] == ["t was changed in its input.const"]


def test_tools_that_came_and_went_are_told() -> None:
    told = [str(each) for each in changes({"echo": ECHO}, {"new": Pinned(name="new", description="", schema={})})]

    assert told == ["echo was removed", "new was added"]


names = st.text(min_size=1, max_size=20)
schemas = st.dictionaries(names, st.recursive(st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3)))
pins = st.builds(
    Pinned, name=names, description=st.text(), schema=schemas, output=st.none() | st.dictionaries(names, st.booleans())
)


@given(st.lists(pins, max_size=4))
def test_what_is_written_is_read_again_with_the_same_hash(tmp_path_factory: Any, written: list[Pinned]) -> None:
    path = tmp_path_factory.mktemp("lock") / "mcp.lock"
    tools = {each.name: each for each in written}
    write_pins(path, "other", {})

    write_pins(path, "files", tools)

    read = read_pins(path, "files")
    assert read is not None and {name: pin.hash for name, pin in read.items()} == {
        name: pin.hash for name, pin in tools.items()
    }
    assert read_pins(path, "other") == {} and read_pins(path, "none") is None


FORGED: dict[str, Any] = {"hash": "x", "description": "", "input": {}, "output": None}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can not be read"),
        ('{"version": 2, "servers": {}}', "of version 2"),
        ("[]", "of version None"),
        ('{"version": 1, "servers": {"files": 5}}', "damaged"),
        ('{"version": 1, "servers": {"files": {"tools": {"t": {"description": 1}}}}}', "damaged"),
        (json.dumps({"version": 1, "servers": {"files": {"tools": {"t": FORGED}}}}), "changed by hand"),
    ],
)
def test_a_lock_file_that_is_damaged_or_changed_by_hand_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "mcp.lock").write_text(content)

    with pytest.raises(InvalidLock, match=said):
        mcp("files", command=["x"], lock=tmp_path / "mcp.lock")


# ---- schemas -------------------------------------------------------------------------------------


def doubling(depth: int) -> dict[str, Any]:
    """A schema of a few lines that applies its last one two to the power of `depth` times."""
    links = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": {**links, f"d{depth}": {"type": "object"}}}


@pytest.mark.parametrize(
    ("schema", "value", "said"),
    [
        (doubling(40), {}, "takes more than 2,000 steps"),
        ({"$ref": "#"}, {}, "takes more than 2,000 steps"),
        ({"type": "array", "items": {"type": "integer"}}, list(range(5_000)), "takes more than 2,000 steps"),
        ({"$ref": "http://127.0.0.1:9/schema"}, {}, "does not make sense"),
        ({"type": 5}, {}, "does not make sense"),
        ({"properties": 7}, {"a": 1}, "does not make sense"),
    ],
)
def test_a_schema_that_would_hold_up_its_host_is_given_up(schema: dict[str, Any], value: object, said: str) -> None:
    (problem,) = Shape(schema).problems(value, checks=2_000)

    assert said in problem


NO_SCHEMAS: list[dict[str, Any]] = [
    {"type": "any"},
    {"properties": {"a": {"type": "any"}}},
    {"$schema": 7, "type": 7},
    {"type": "object", "$id": 7},
    {"properties": {"a": {"multipleOf": 0}}},
    {"required": 7},
]


@pytest.mark.parametrize("schema", NO_SCHEMAS)
def test_what_is_no_schema_ends_nobody_who_checks_by_it(schema: dict[str, Any]) -> None:
    (problem,) = Shape(schema).problems({"a": 7}, checks=2_000)

    assert problem.startswith(("its schema does not make sense", "7 is not of type"))


@pytest.mark.parametrize("schema", NO_SCHEMAS)
def test_a_tool_whose_schema_is_none_can_not_be_pinned(schema: dict[str, Any]) -> None:
    listed, unfit = pins_of([Tool(name="odd", input_schema={"type": "object"}, output_schema=schema)])

    assert listed == {}
    assert len(unfit) == 1 and unfit[0].startswith("odd has a schema that is none: ")


def test_patterns_and_comparisons_of_all_with_all_are_left_to_the_server() -> None:
    schema = {
        "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}, "b": {"uniqueItems": True}},
        "patternProperties": {"^(x+)+$": {"type": "integer"}},
        "additionalProperties": False,
    }

    assert Shape(schema).problems({"a": "a" * 50 + "!", "b": [{}, {}], "x" * 50 + "!": 1}, checks=2_000) == []


def test_what_does_not_fit_is_told_with_its_place() -> None:
    schema = {"properties": {"a": {"items": {"type": "integer"}}}, "required": ["b"], "additionalProperties": False}

    assert Shape(schema).problems({"a": [1, "x"], "c": 1}, checks=2_000) == [
        "a.1: 'x' is not of type 'integer'",
        "'b' is a required property",
        "Additional properties are not allowed ('c' was unexpected)",
    ]


# ---- names and options ---------------------------------------------------------------------------


def test_tools_have_names_that_every_provider_takes() -> None:
    assert tool_names("files", {"read/file.now": ECHO, "b": ECHO}) == {
        "b": "files_b",
        "read/file.now": "files_read_file_now",
    }


@pytest.mark.parametrize(
    ("tools", "said"), [(["a" * 60], "64 signs are the most"), (["a.b", "a/b"], "would both be called 'files_a_b'")]
)
def test_tools_that_can_have_no_name_of_their_own_are_refused(tools: list[str], said: str) -> None:
    with pytest.raises(InvalidTool, match=said):
        tool_names("files", dict.fromkeys(tools, ECHO))


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("Files", {"command": ["x"]}, "is no name for an MCP server"),
        ("files", {}, "either a command"),
        ("files", {"command": ["x"], "url": "http://x"}, "either a command"),
        ("files", {"command": "npx -y x"}, "as a list of its words"),
        ("files", {"command": []}, "no program"),
        ("files", {"command": ["x"], "headers": {"a": "b"}}, "headers are for a url"),
        ("files", {"url": "file:///x"}, "no http"),
        ("files", {"url": "http://x", "environment": ["A"]}, "environment is for a command"),
        ("files", {"url": "http://x", "headers": {"a": "b\nc"}}, "no texts of one line"),
        ("files", {"command": ["x"], "timeout_s": 0}, "timeout_s"),
        ("files", {"command": ["x"], "result_bytes": 16_000_000}, "result_bytes may be up to"),
        ("files", {"command": ["x"], "tools": [""]}, "in tools is no name"),
    ],
)
def test_an_option_that_can_not_be_is_refused_where_it_stands(
    tmp_path: Path, name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidTool, match=said):
        mcp(name, lock=tmp_path / "mcp.lock", **options)


def test_a_tool_that_the_code_names_and_nobody_pinned_is_told(tmp_path: Path) -> None:
    write_pins(tmp_path / "mcp.lock", "files", {"echo": ECHO})
    server = mcp("files", command=["x"], lock=tmp_path / "mcp.lock", idempotent=["ecko"])

    with pytest.raises(NotPinned, match="has no pinned tool 'ecko', which the code names"):
        server.check_usable()
    with pytest.raises(InvalidTool, match="has no pinned tool 'ecko'; it has echo"):
        server.tool("ecko")


def test_an_agent_that_lists_some_tools_of_an_unpinned_server_is_defined_and_does_not_start(tmp_path: Path) -> None:
    server = mcp("files", command=["x"], lock=tmp_path / "mcp.lock")

    class Reader(Agent):
        tools = [server.only("echo")]

    with pytest.raises(NotPinned, match=r"regrow mcp pin [\w.]+:APP files"):
        Reader.made(None)


def test_consent_to_each_call_and_idempotence_are_the_users_word(tmp_path: Path) -> None:
    other = Pinned(name="other", description="", schema={"type": "object"})
    write_pins(tmp_path / "mcp.lock", "files", {"echo": ECHO, "other": other})
    server = mcp("files", command=["x"], lock=tmp_path / "mcp.lock", idempotent=["echo"], approval=["other"])
    asks = mcp("files", command=["x"], lock=tmp_path / "mcp.lock", approval=True)

    told = {tool.name: (tool.idempotent, tool.needs_approval({})) for tool in server.tools}
    assert told == {"files_echo": (True, False), "files_other": (False, True)}
    assert all(tool.needs_approval({}) for tool in asks.tools)


def test_a_session_is_a_child_like_any_other_and_is_found_by_its_name_in_the_module(tmp_path: Path) -> None:
    server = mcp("files", command=["x"], lock=tmp_path / "mcp.lock")

    assert child(server).id == "files"
    with pytest.raises(CodeNotImportable, match=r"files = mcp\('files', …\)"):
        _ = server.code_name
    with pytest.raises(Misuse, match="is not asked"):
        server.request()


def test_the_lock_file_stands_beside_the_code_and_says_what_the_server_said(tmp_path: Path) -> None:
    assert mcp("files", command=["x"]).lock == Path(__file__).parent / "mcp.lock"

    write_pins(tmp_path / "mcp.lock", "files", {"echo": ECHO})

    told = json.loads((tmp_path / "mcp.lock").read_text())["servers"]["files"]["tools"]["echo"]
    assert told == {"hash": ECHO.hash, "description": "Says it.", "input": dict(ECHO.schema), "output": None}
