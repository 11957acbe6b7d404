"""What the verbs on running apps want from them, as requests to their control sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from regrow.cluster import control_client
from regrow.cluster.errors import AppNotRunning, ControlError
from regrow.runtime.errors import Misuse, TooLate

ANSWER_MARGIN_S = 5.0
"""What an answer may take longer than the ask that it is about."""

JOURNAL_TIMEOUT_S = 65.0
"""For what is done in the journal, which may have to be asked again for a while."""

NO_ANSWER = "no answer"
"""The state of an app whose process lives and does not say how it is."""


def seen(app: str) -> dict[str, Any]:
    """One running app with its tree, which is empty while it starts. Raises AppNotRunning, ControlError, TooLate."""
    about = _about(app)
    return {**about, "tree": _tree(about)}


def tree_of(app: str) -> list[Any]:
    """The trees of a running app. Raises AppNotRunning, also while it starts, ControlError, TooLate."""
    tree: list[Any] = control_client.call(app, "tree", wait_s=control_client.TREE_TIMEOUT_S)
    return tree


def all_seen() -> list[dict[str, Any]]:
    """Every app that runs here. One that does not say how it is has the state NO_ANSWER, and a `note` why."""
    found = (seen_anyway(app, pid) for app, pid in control_client.running_pids().items())
    return [each for each in found if each is not None]


def data_dirs(app: str | None = None) -> list[Path]:
    """The data folders of one app, or of all that run here; those that do not answer are left out."""
    found: list[Path] = []
    for name in control_client.running_apps():
        if app in (None, name):
            with suppress(AppNotRunning, TooLate, ControlError):
                found += (Path(folder) for folder in [_about(name).get("data_dir")] if folder)
    return found


def only_app() -> str:
    """The one app that runs here. Raises Misuse where none does, or several do."""
    found = control_client.running_apps()
    if not found:
        raise Misuse("no app is running here; start one with: regrow run MODULE:APP")
    if len(found) > 1:
        raise Misuse(f"several apps run here: {', '.join(found)}; say which one")
    return found[0]


def seen_anyway(app: str, pid: int) -> dict[str, Any] | None:
    """What can be said of an app: one that hangs must not hide the others. None when it does not run."""
    about: dict[str, Any] = {"app": app, "engine": None, "pid": pid, "started_at": None}
    try:
        about = _about(app)
        return {**about, "tree": _tree(about)}
    except AppNotRunning:
        return None
    except (TooLate, ControlError) as error:
        return {**about, "state": NO_ANSWER, "note": str(error), "tree": []}


def asked(agent: str, words: Sequence[str], *, type_name: str, timeout_s: float) -> dict[str, Any]:
    """The answer of `APP/AGENT` to what these words say. Raises Misuse for words that can not be meant.

    The clock of an app stands while a debugger has its process, and so does this one.
    """
    answer: dict[str, Any] = control_client.call(
        _app_of(agent, timeout_s),
        "ask",
        wait_s=timeout_s + ANSWER_MARGIN_S,
        agent=agent,
        type=type_name,
        timeout_s=timeout_s,
        **_message(words),
    )
    return answer


def dead_letters(app: str) -> dict[str, Any]:
    """The dead letters of an app: `total`, `counts` by reason, and the `latest` ones."""
    told: dict[str, Any] = control_client.call(app, "dead_letters", wait_s=control_client.TREE_TIMEOUT_S)
    return {"app": app, **told}


def metrics(app: str) -> dict[str, Any]:
    """What an app has counted: each of its processes in `hosts`, the `total`, and its `models`."""
    told: dict[str, Any] = control_client.call(app, "metrics", wait_s=control_client.TREE_TIMEOUT_S)
    return told


def done_to(agent: str, deed: str, *, timeout_s: float) -> dict[str, Any]:
    """What became of `APP/AGENT` after a `kill` or `restart`. Raises Misuse for what names no agent."""
    app = _app_of(agent, timeout_s)
    done: dict[str, Any] = control_client.call(
        app, deed, wait_s=timeout_s + ANSWER_MARGIN_S, agent=agent, timeout_s=timeout_s
    )
    return done


def set_aside(of: str) -> dict[str, Any]:
    """The messages in quarantine of `APP` or `APP/AGENT`."""
    return _of_app_or_agent("set_aside", of)


def waits(of: str) -> dict[str, Any]:
    """The messages of `APP` or `APP/AGENT` that wait for an answer."""
    return _of_app_or_agent("waits", of)


def approved(id: str, words: Sequence[str]) -> dict[str, Any]:
    """What was answered to the message `APP/AGENT@COMMAND`. Raises Misuse for words that can not be meant."""
    return _approved(id, **_message(words))


def approved_with(id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """The same with the fields of the answer."""
    return _approved(id, fields=fields)


def _approved(id: str, **message: object) -> dict[str, Any]:
    told: dict[str, Any] = control_client.call(
        _app_of_message(id), "approve", wait_s=JOURNAL_TIMEOUT_S, id=id, **message
    )
    return told


def history(agent: str, *, limit: int) -> dict[str, Any]:
    """The newest turns of `APP/AGENT` that have ended, newest last."""
    told: dict[str, Any] = control_client.call(
        _app_of(agent, JOURNAL_TIMEOUT_S), "history", wait_s=JOURNAL_TIMEOUT_S, agent=agent, limit=limit
    )
    return told


def decided(id: str, decision: str, *, assume: str | None = None) -> dict[str, Any]:
    """What a message in quarantine is (`show`), or what became of it (`requeue`, `drop`), by `APP/AGENT@COMMAND`."""
    told: dict[str, Any] = control_client.call(
        _app_of_message(id), "decide", wait_s=JOURNAL_TIMEOUT_S, id=id, decision=decision, assume=assume
    )
    return told


def _of_app_or_agent(do: str, of: str) -> dict[str, Any]:
    app, slash, name = of.partition("/")
    if not app or (slash and not name):
        raise Misuse(f"{of!r} names no app and no agent; write APP or APP/AGENT, such as desk or desk/clerk")
    agent = of if slash else ""
    told: dict[str, Any] = control_client.call(app.partition(":")[0], do, wait_s=JOURNAL_TIMEOUT_S, agent=agent)
    return told


def _app_of_message(id: str) -> str:
    agent, at, command = id.rpartition("@")
    app, slash, name = agent.partition("/")
    if not (at and command and app and slash and name):
        raise Misuse(
            f"{id!r} names no message; write APP/AGENT@COMMAND, as it stands in what `regrow quarantine list APP` and "
            "`regrow waits APP` print"
        )
    return app.partition(":")[0]


def app_of(agent: str) -> str:
    """The app of an agent's id: `desk` of `desk/clerk` and of `desk:services/memory`. Raises Misuse for no such id."""
    root, slash, name = agent.partition("/")
    app = root.partition(":")[0]
    if not (app and slash and name):
        raise Misuse(f"{agent!r} names no agent; write APP/AGENT, such as hello/greet (regrow ps shows them)")
    return app


def _app_of(agent: str, timeout_s: float) -> str:
    app = app_of(agent)
    if not 0 < timeout_s <= control_client.TIMEOUT_LIMIT_S:
        raise Misuse(f"--timeout is {timeout_s:g}; give seconds above 0, at most {control_client.TIMEOUT_LIMIT_S:g}")
    return app


def _about(app: str) -> dict[str, Any]:
    about: dict[str, Any] = control_client.call(app, "about", wait_s=control_client.PROBE_TIMEOUT_S)
    return about


def _tree(about: dict[str, Any]) -> list[Any]:
    if about["state"] == "starting":
        return []
    tree: list[Any] = control_client.call(about["app"], "tree", wait_s=control_client.TREE_TIMEOUT_S)
    return tree


def _message(words: Sequence[str]) -> dict[str, object]:
    """The fields of the one JSON object that was typed, or else the words as they are."""
    if len(words) != 1 or not words[0].lstrip().startswith("{"):
        return {"words": list(words)}
    try:
        return {"fields": json.loads(words[0])}
    except ValueError as error:
        raise Misuse(f"the message is no valid JSON ({error}); put it into single quotation marks") from error
