"""What has happened between two looks at the trees of an app: deaths, restarts, ends. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from regrow.cluster.observer_tree import REASON_CHARS, Forest, Node

NEWS_AT_ONCE = 50
"""So many are told one by one of one look; of the rest their number is."""
TROUBLE = frozenset({"restarting", "unreachable", "unconfirmed", "ended"})
"""States that are told when an agent comes into them."""
ENDINGS = frozenset({"finished", "stopped"})

News = dict[str, Any]


def news_between(before: Forest, after: Forest, *, at: str) -> list[News]:
    """What is to be told, in the order of the tree; `at` is when it was seen."""
    found: list[News] = []
    for id, node in after.nodes.items():
        known = before.nodes.get(id)
        if known is not None and (told := _change(known, node)) is not None:
            found.append({"at": at, "agent": id, **told})
    gone = (node for id, node in before.nodes.items() if id not in after.nodes)
    found += [{"at": at, "agent": node["id"], "what": "is gone", "why": ""} for node in gone if _is_missed(node)]
    left_out = len(found) - NEWS_AT_ONCE
    if left_out > 0:
        found = [*found[:NEWS_AT_ONCE], {"at": at, "agent": "", "what": f"and {left_out:,} more at once", "why": ""}]
    return found


def news_of_app(before: Mapping[str, Any], after: Mapping[str, Any], *, at: str) -> list[News]:
    """What is to be told of the app as a whole: `pid` is 0 while it does not run, None where nobody has looked yet."""
    known, pid = before["pid"], after["pid"]
    if known is None or known == pid:
        return []
    what = f"runs as process {pid}" if not known else f"runs anew as process {pid}" if pid else "has ended"
    return [{"at": at, "agent": after["app"], "what": what, "why": ""}]


def _change(before: Node, after: Node) -> Mapping[str, Any] | None:
    why = after["last_reason"][:REASON_CHARS]
    if after["incarnation"] > before["incarnation"] and after["state"] not in TROUBLE:
        return {"what": f"lives again as #{after['incarnation']}", "why": why}
    if after["state"] != before["state"]:
        if after["state"] in TROUBLE:
            return {"what": f"is {after['state']}", "why": why}
        if after["state"] in ENDINGS:
            return {"what": f"has {after['state']}" if after["state"] == "finished" else "was stopped", "why": why}
    return None


def _is_missed(node: Node) -> bool:
    """An agent with a key comes and goes; of one that was written into the tree somebody wants to know."""
    return bool(node["restart"] == "temporary")
