"""What a page is told: everything at first, and then what has changed since. Pure.

A frame is a mapping of parts, such as `app`, `tree` and `letters`. The tree is told by rows and of these by
fields, so that a mailbox that moves costs some bytes; every other part is short and told whole when it has changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from regrow.cluster.observer_tree import Row, View, rows_of

if TYPE_CHECKING:
    from regrow.cluster.observer_watch import Seen

Frame = Mapping[str, Any]

TREE = "tree"
ARGUMENTS_CHARS = 10_000
"""Of a call that waits for consent. Whoever is to consent to more looks at it with `regrow waits`."""

_KIND = re.compile(r"[\w.]*")


def frame_of(seen: Seen, view: View, *, may_act: bool) -> Frame:
    """What a page with this view is to show. Who may not act sees what happens, and not what people and models say."""
    parts, rows = dict(seen.parts), rows_of(seen.forest, view)
    if "app" in parts:  # where its data lies, often below somebody's name, no page has a use for
        parts["app"] = {name: said for name, said in parts["app"].items() if name != "data_dir"}
    if "rows" in (waits := parts.get("waits", {})):
        parts["waits"] = {**waits, "rows": [_wait(row, may_act=may_act) for row in waits["rows"]]}
    if not may_act:
        rows = {id: {**row, "reason": kind_of(row["reason"])} for id, row in rows.items()}
        parts["news"] = [{**each, "why": kind_of(each["why"])} for each in parts.get("news", ())]
    return {**parts, "agents": seen.forest.agents, "may_act": may_act, TREE: rows}


def kind_of(reason: str) -> str:
    """The name of a reason or error, without its text: `ValueError` of `ValueError: nobody is called Ann`."""
    return _KIND.match(reason)[0]  # type: ignore[index] # it matches everything


def _wait(row: Mapping[str, Any], *, may_act: bool) -> Mapping[str, Any]:
    call = row.get("call")
    if not call:
        return row
    if not may_act:
        return {**row, "call": {"tool": call["tool"], "arguments": "", "whole": False}}
    arguments = call["arguments"]
    # They are a JSON object; what stands in their place where they are too large is none.
    whole = len(arguments) <= ARGUMENTS_CHARS and arguments.startswith("{")
    return {**row, "call": {**call, "arguments": _legible(arguments[:ARGUMENTS_CHARS]), "whole": whole}}


def _legible(arguments: str) -> str:
    """The same JSON, in which nothing is invisible or turns other letters round: somebody is to consent to it."""
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in arguments)


def changes(before: Frame | None, after: Frame) -> dict[str, Any]:
    """What a page that has `before` needs to have `after`; all of it where it has nothing. Empty where both agree."""
    if before is None:
        before = {}
    told = {name: part for name, part in after.items() if name != TREE and before.get(name, ...) != part}
    rows = _changed_rows(before.get(TREE, {}), after.get(TREE, {}))
    return told | ({TREE: rows} if rows or TREE not in before else {})


def _changed_rows(before: Mapping[str, Row], after: Mapping[str, Row]) -> dict[str, Any]:
    """`rows` by id, of known ones the fields that differ; `gone` ids; `order` of all where it is another one."""
    rows: dict[str, Row] = {}
    for id, row in after.items():
        known = before.get(id)
        if known is None:
            rows[id] = row
        elif known != row:
            # A field that is no longer there, such as `more`, is told as null.
            rows[id] = {name: row.get(name) for name in {**known, **row} if known.get(name) != row.get(name)}
    told: dict[str, Any] = {"rows": rows} if rows else {}
    if gone := [id for id in before if id not in after]:
        told["gone"] = gone
    if list(before) != list(after):
        told["order"] = list(after)
    return told
