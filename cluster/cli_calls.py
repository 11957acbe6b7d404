"""What `ps` and `ask` want from running apps, as requests to their control sockets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from regrow.cluster import control_client
from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.runtime.errors import Misuse, TooLate

ANSWER_MARGIN_S = 5.0
"""What an answer may take longer than the ask that it is about."""

NO_ANSWER = "no answer"
"""The state of an app whose process lives and does not say how it is."""


def seen(app: str) -> dict[str, Any]:
    """One running app with its tree, which is empty while it starts. Raises AppNotRunning, ControlError, TooLate."""
    about = _about(app)
    return {**about, "tree": _tree(about)}


def all_seen() -> list[dict[str, Any]]:
    """Every app that runs here. One that does not say how it is has the state NO_ANSWER, and a `note` why."""
    found = (_seen_anyway(app, pid) for app, pid in control_client.running_pids().items())
    return [each for each in found if each is not None]


def asked(agent: str, words: Sequence[str], *, type_name: str, timeout_s: float) -> dict[str, Any]:
    """The answer of `APP/AGENT` to what these words say. Raises Misuse for words that can not be meant."""
    app, slash, name = agent.partition("/")
    if not (app and slash and name):
        raise Misuse(f"{agent!r} names no agent; write APP/AGENT, such as hello/greet (regrow ps shows them)")
    if timeout_s <= 0:
        raise Misuse(f"--timeout is {timeout_s:g}; give seconds above 0")
    answer: dict[str, Any] = control_client.call(
        app,
        "ask",
        wait_s=timeout_s + ANSWER_MARGIN_S,
        agent=agent,
        type=type_name,
        timeout_s=timeout_s,
        **_message(words),
    )
    return answer


def _about(app: str) -> dict[str, Any]:
    about: dict[str, Any] = control_client.call(app, "about", wait_s=control_client.PROBE_TIMEOUT_S)
    return about


def _tree(about: dict[str, Any]) -> list[Any]:
    if about["state"] == "starting":
        return []
    tree: list[Any] = control_client.call(about["app"], "tree", wait_s=control_client.TREE_TIMEOUT_S)
    return tree


def _seen_anyway(app: str, pid: int) -> dict[str, Any] | None:
    """What can be said of an app: one that hangs must not hide the others. None when it has ended since."""
    about: dict[str, Any] = {"app": app, "engine": None, "pid": pid, "started_at": None}
    try:
        about = _about(app)
        return {**about, "tree": _tree(about)}
    except AppNotRunning:
        return None
    except (TooLate, ControlError) as error:
        return {**about, "state": NO_ANSWER, "note": str(error), "tree": []}


def _message(words: Sequence[str]) -> dict[str, object]:
    """The fields of the one JSON object that was typed, or else the words as they are."""
    if len(words) != 1 or not words[0].lstrip().startswith("{"):
        return {"words": list(words)}
    try:
        return {"fields": json.loads(words[0])}
    except ValueError as error:
        raise Misuse(f"the message is no valid JSON ({error}); put it into single quotation marks") from error
