"""Every error of the cluster room.

Misuse (runtime)
├── ConfigError             a setting that is unknown or wrong: mend the key it names
├── NoSuchAgent             the app has nobody of that id: name one of those that are listed
├── NothingKnown            of that id nothing is kept, and the app does not run: start it, or name one that is listed
├── NoSuchTrace             no trace has that id: name one of those that `regrow traces` lists
├── AppNotFound             MODULE:APP leads to no app: mend the name
└── AppAlreadyRunning       the name is taken: stop that app, or choose another name
ControlError                the running app answered with an error of its own
AppNotStarted               a child failed to start: mend the cause it names
Closed (runtime)
└── AppNotRunning           the app does not run: start it
WorldBroke (runtime)
├── RedisUnavailable        Redis can not be started or reached; the text says what to do
│   └── FolderLocked            another process uses this data folder
├── TracesUnreadable        the file of the traces can not be read: look at it and its folder
├── IncidentsUnreadable     the same of the file of the incidents
├── RayUnavailable          Ray can not be started or reached; the text says what to do
└── PortInUse               another program listens on this port: choose another one
RehearsalFailed (also AssertionError)   a test of an app found what it must not find
├── NotSettled              agents were still at work after the time that the test gave
├── LeftRunning             tasks, threads or processes outlived the app: end them where it names them
├── ScriptLeft              a script holds answers that no agent asked for
└── CrashesLeft             crashes were ordered that never came
PlannedCrash                a test ordered this crash of an agent
ScriptBroke                 a function of a test's script raised something of its own: mend the test
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from regrow.runtime.errors import Closed, Misuse, RegrowError, WorldBroke
from regrow.runtime.lifecycle import Crashed

LISTED = 30
"""How many agents are listed for somebody who named one that is not there."""

NEAR = 0.8
"""How alike two ids are, of 1, for one to be taken for a misspelling of the other."""


class ConfigError(Misuse):
    """A setting that is unknown, has a wrong value, or stands in a file that can not be read.

    Attributes: `source`, the file or environment variable, and `key`, such as `redis.url`, or the
    empty string where the source as a whole is wrong.
    """

    def __init__(self, text: str, *, source: str, key: str = "") -> None:
        super().__init__(text)
        self.source = source
        self.key = key


class NoSuchTrace(Misuse):
    """No trace that was recorded has this id, or several have one that begins so."""


class TracesUnreadable(WorldBroke):
    """The file of the traces can not be read."""


class NothingKnown(Misuse):
    """Nothing is kept of an agent, and its app does not run, so nobody can say whether there is one of that id.

    Attributes: `app`, `agent` as it was given, and `known`, the ids of whom something is kept.
    """

    def __init__(
        self, app: str, agent: str, *, known: Sequence[str], folder: str = "", running: Sequence[str] = ()
    ) -> None:
        where = f" in {folder}" if folder else ""
        if known:
            told = did_you_mean(agent, known, of="something is kept of: ")
        elif running:
            near = get_close_matches(app, running, 1, NEAR)
            meant = f"did you mean {near[0]}{agent.removeprefix(app)}? These" if near else "these"
            told = f"{meant} apps run here: {_listed(running)}; write APP or APP/AGENT"
        else:
            told = (
                "nor is anything kept of any other; look from the folder of the app, or name its config with --config"
            )
        super().__init__(
            f"nothing is known of {agent!r}: {app} does not run, and of trouble with it nothing is kept{where}; {told}"
        )
        self.app = app
        self.agent = agent
        self.known = tuple(known)


class IncidentsUnreadable(WorldBroke):
    """The file of the incidents can not be read."""


class AppNotFound(Misuse):
    """`MODULE:APP` names no module, no attribute of it, or something that is no App.

    Attributes: `target`, as it was given.
    """

    def __init__(self, target: str, text: str) -> None:
        super().__init__(f"{target}: {text}")
        self.target = target


class NoSuchAgent(Misuse):
    """The app has no supervised agent of that id.

    Attributes: `app`, `agent` as it was given, and `known`, the ids that there are.
    """

    def __init__(self, app: str, agent: str, *, known: Sequence[str] = (), spawned_by: str | None = None) -> None:
        if spawned_by is not None:
            told = f"if {spawned_by} has spawned it, it ends and comes back with that one, so name that one"
        else:
            told = did_you_mean(agent, known)
        super().__init__(f"{app} supervises no {agent!r}; {told}")
        self.app = app
        self.agent = agent
        self.known = tuple(known)


class AppNotRunning(Closed):
    """No app of that name runs here.

    Attributes: `app`.
    """

    def __init__(self, app: str, text: str = "") -> None:
        super().__init__(text or f"no app {app!r} is running here; start it with: regrow run MODULE:APP")
        self.app = app


class AppAlreadyRunning(Misuse):
    """An app of this name runs already as this user on this machine.

    Attributes: `app`, and `pid` of its process, 0 where the system does not tell.
    """

    def __init__(self, app: str, pid: int) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"an app {app!r} is already running here ({who}); look at it with: regrow ps {app} — "
            f"or end it first with: regrow stop {app}"
        )
        self.app = app
        self.pid = pid


class ControlError(RegrowError):
    """The app answered with an error of its own.

    Attributes: `type_name` of the error there, and `exit_code` for a program that ends because of it.
    """

    def __init__(self, text: str, *, type_name: str, exit_code: int) -> None:
        super().__init__(text)
        self.type_name = type_name
        self.exit_code = exit_code


class AppNotStarted(RegrowError):
    """A child of the app did not start, so nothing of it runs.

    Attributes: `app`, and `cause`, the Crashed of the child's own start with its traceback.
    """

    def __init__(self, app: str, cause: Crashed) -> None:
        super().__init__(f"{app} did not start: {cause.message}")
        self.app = app
        self.cause = cause


class RedisUnavailable(WorldBroke):
    """Redis can not be started, reached or used; the text says why and what to do."""


class FolderLocked(RedisUnavailable):
    """Another process keeps its Redis in this folder.

    Attributes: `folder`, and `pid` of its owner, or None when it did not say.
    """

    def __init__(self, folder: Path, pid: int | None) -> None:
        owner = f"process {pid}" if pid else "another process"
        super().__init__(
            f"the data folder {folder} is in use by {owner}; stop the app that runs there, or set another data_dir"
        )
        self.folder = folder
        self.pid = pid


class RayUnavailable(WorldBroke):
    """Ray can not be started or reached; the text says why and what to do."""


class PortInUse(WorldBroke):
    """Another program listens on the port.

    Attributes: `port`, and `purpose`, what it was wanted for.
    """

    def __init__(self, port: int, purpose: str) -> None:
        super().__init__(
            f"port {port} is taken, so {purpose} can not use it; stop what listens there or choose another"
        )
        self.port = port
        self.purpose = purpose


class RehearsalFailed(RegrowError, AssertionError):
    """What a test of an app found and must not find; to pytest it is a failed assertion."""


class NotSettled(RehearsalFailed):
    """Something was still at work after the time that the test gave.

    Attributes: `busy`, what it was.
    """

    def __init__(self, busy: Sequence[str], within_s: float) -> None:
        super().__init__(
            f"not settled after {within_s:g} s: {'; '.join(busy[:LISTED])}; let it end, give it more time with "
            "settled(within_s=…), or do not wait for it"
        )
        self.busy = tuple(busy)


class LeftRunning(RehearsalFailed):
    """Tasks, threads or processes that were begun while the app ran outlived it.

    Attributes: `left`, each with its name and place.
    """

    def __init__(self, app: str, left: Sequence[str]) -> None:
        super().__init__(
            f"{app} has ended, and this still runs: {'; '.join(left[:LISTED])}; end it where it was begun, "
            "for an agent in `stopping`"
        )
        self.left = tuple(left)


class ScriptLeft(RehearsalFailed):
    """A script of model answers was not used up.

    Attributes: `left`, the answers that nobody asked for.
    """

    def __init__(self, asked: int, left: Sequence[object]) -> None:
        shown = ", ".join(f"{answer!r:.80}" for answer in left[:LISTED])
        super().__init__(
            f"the script has {asked + len(left)} answers and was asked {asked} times; not asked for: {shown}; "
            "take them out, or write ScriptedModel(…, may_be_left=True)"
        )
        self.left = tuple(left)


class CrashesLeft(RehearsalFailed):
    """A test ordered crashes on messages that did not come so often, so that it tried less than it says.

    Attributes: `left`, the orders with how many crashes are left of each.
    """

    def __init__(self, left: Sequence[str]) -> None:
        super().__init__(f"crashes were ordered and never came: {'; '.join(left)}; send the message, or order fewer")
        self.left = tuple(left)


class PlannedCrash(RegrowError):
    """A test ordered this crash of an agent by `crash_on`, in place of its handler."""


class ScriptBroke(RegrowError):
    """A function in the script of a test raised something of its own, in the test's process."""


def did_you_mean(agent: str, known: Sequence[str], *, of: str = "there are: ") -> str:
    """What to say to who has named nobody: who was meant perhaps, and, after `of`, who there is."""
    told = of + _listed(known)
    near = _nearest(agent, known)
    return f"did you mean {near}? {told[0].upper()}{told[1:]}" if near else told


def _nearest(agent: str, known: Sequence[str]) -> str:
    """Whom somebody may have meant: a name like it, or the same one elsewhere in the tree. Empty where nobody is."""
    name = agent.rpartition("/")[2]
    near = get_close_matches(agent, [id for id in known if id.count("/") == agent.count("/")], 1, NEAR)
    elsewhere = {id.rpartition("/")[2]: id for id in known}
    return near[0] if near else next((elsewhere[each] for each in get_close_matches(name, elsewhere, 1, NEAR)), "")


def _listed(known: Sequence[str]) -> str:
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return (", ".join(known[:LISTED]) or "none") + more
