"""The two apps whose agents are tried: together in one process, or near and far of each other."""

from __future__ import annotations

from dataclasses import dataclass

from regrow import App, Dedicated, DynamicSupervisor, Packed, Supervisor, child
from regrow.runtime import Overflow, Placement
from regrow.supervisors import Backoff, ChildSpec
from tests.conformance.placements.caller import Caller
from tests.conformance.placements.overseer import Overseer
from tests.conformance.placements.plain import Plain
from tests.conformance.placements.player import OFTEN, RECORD, Part, Player
from tests.conformance.placements.teller import Teller

BOUND = 3
"""The mailbox of those that are filled, in messages."""

MOST_SESSIONS = 3
"""So many children may the dynamic supervisor have."""

WINDOW_S = 0.5
"""The time within which one restart is allowed in the group `window`."""

STASH = 2
"""So many messages may the coy one set aside: half of its mailbox."""

BACKOFF = Backoff(first_s=0.05, max_s=0.2)
"""How long the restarts in the group `patient` wait."""

LONG = Backoff(first_s=3_600.0, max_s=3_600.0)
"""How long the second restart of a child in the group `sluggish` waits: longer than any test."""

HASTY = 3
HASTY_S = 1.5
"""So many restarts are allowed within so long in the group `hasty`, whose waits for them take longer. Its lives do not,
also where a busy machine takes long to notice their ends."""

SHARED_S = 2.0
"""How long the children of the dynamic supervisor `pool` may take to stop, all together."""

ALONE_GRACE_S = 1.0
"""How long the one that is alone in its process may take to stop."""

QUEUE = 10_000
"""The mailbox of the busy one, in messages."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the agents of an app are: who watches, who is watched, whose process is killed, who is alone.

    `pool` is of children that are started while the app runs; None leaves it to their supervisor.
    """

    near: Placement
    far: Placement
    brittle: Placement
    lonely: Placement
    pool: Placement | None


PART = Part(record=str(RECORD))
CLINGING = Part(record=str(RECORD), clings=True)


def _groups(at: Places) -> list[ChildSpec]:
    """The supervisors below the root, each with what its own promises need."""
    near, far = at.near, at.far

    def player(id: str, place: Placement, **options: object) -> ChildSpec:
        return child(Player, id=id, placement=place, **{"config": PART, **options})  # type: ignore[arg-type]

    group = {"max_restarts": OFTEN}
    types = [player(f"{kind}", far, restart=kind) for kind in ("permanent", "transient", "temporary")]
    rooms = [player("room", far), player("other", near), player("brief", far, restart="temporary")]
    floor = Supervisor(max_restarts=1, within_s=3_600.0, children=rooms)
    held = {"max_restarts": 1, "within_s": 3_600.0}
    auto = [player("task", far, restart="transient", significant=True), player("other", near)]
    last = [
        player("trigger", near),
        player("clinging", far, shutdown_s=1.5, config=CLINGING),
        player("brutal", far, shutdown_s=0),
    ]
    mixed = [player("trigger", near), *(player(kind, far, restart=kind) for kind in ("transient", "temporary"))]
    each = [player(id, at.far, restart="transient", significant=True) for id in ("one", "two")]
    trio = [player("a", near), player("b", far), player("c", near)]
    return [
        child(Supervisor(children=types, **group), id="types"),  # type: ignore[arg-type]
        child(Supervisor(strategy="rest_for_one", children=trio, max_restarts=OFTEN), id="rest"),
        child(Supervisor(strategy="one_for_all", children=trio, max_restarts=OFTEN), id="all"),
        child(Supervisor(children=[child(floor, id="floor", restart="transient")], **held), id="tower"),  # type: ignore[arg-type]
        child(Supervisor(strategy="one_for_all", children=last, max_restarts=OFTEN), id="last"),
        child(Supervisor(max_restarts=1, within_s=WINDOW_S, children=[player("one", far)]), id="window"),
        child(
            DynamicSupervisor(
                child(Player, placement=far, config=PART), max_children=MOST_SESSIONS, max_restarts=OFTEN
            ),
            id="sessions",
        ),
        child(
            DynamicSupervisor(
                child(Player, placement=at.pool, config=PART, shutdown_s=SHARED_S), max_restarts=OFTEN, max_children=10
            ),
            id="pool",
        ),
        child(
            Supervisor(children=[player("one", far), player("other", far)], max_restarts=OFTEN, backoff=BACKOFF),
            id="patient",
        ),
        child(
            Supervisor(children=[player("one", far), player("other", far)], max_restarts=OFTEN, backoff=LONG),
            id="sluggish",
        ),
        child(
            Supervisor(
                max_restarts=HASTY,
                within_s=HASTY_S,
                backoff=Backoff(first_s=HASTY_S, max_s=HASTY_S),
                children=[player("one", far)],
            ),
            id="hasty",
        ),
        child(
            Supervisor(
                strategy="one_for_all",
                max_restarts=OFTEN,
                children=[player("trigger", near), player("slow", far, shutdown_s=None)],
            ),
            id="calm",
        ),
        child(Supervisor(auto_shutdown="any_significant", children=auto), id="auto"),
        child(Supervisor(auto_shutdown="all_significant", children=each), id="each"),
        child(Supervisor(strategy="one_for_all", children=mixed, max_restarts=OFTEN), id="mixed"),
        child(Supervisor(children=[player(f"m{n}", at.brittle) for n in range(3)], **held), id="crew"),  # type: ignore[arg-type]
        child(
            Supervisor(
                strategy="one_for_all",
                max_restarts=OFTEN,
                children=[player("trigger", near), player("alone", at.lonely, shutdown_s=ALONE_GRACE_S)],
            ),
            id="pair",
        ),
    ]


def _singles(at: Places) -> list[ChildSpec]:
    """Players without a group of their own, and those with small mailboxes."""
    places = {"ann": at.near, "amy": at.near, "bob": at.far, "ben": at.far, "pip": at.brittle}
    return [
        *(child(Player, id=id, placement=place, config=PART) for id, place in places.items()),
        child(Player, id="busy", placement=at.far, config=PART, mailbox=QUEUE),
        child(Plain, id="pat", placement=at.near),
        child(Overseer, id="eve", placement=at.near, config=PART),
        child(Caller, id="cal", placement=at.near, config=PART),
        child(Caller, id="cob", placement=at.far, config=PART),
        *(
            child(Teller, id=id, placement=place, config=PART)
            for id, place in {"rita": at.near, "tim": at.far, "tess": at.brittle}.items()
        ),
        child(Caller, id="coy", placement=at.far, config=PART, mailbox=2 * STASH),
        *(
            child(Player, id=policy.value, placement=at.far, config=PART, mailbox=BOUND, overflow=policy)
            for policy in Overflow
        ),
    ]


def _app(at: Places) -> Supervisor:  # type: ignore[valid-type]
    return Supervisor(max_restarts=OFTEN, children=[*_singles(at), *_groups(at)])


HOME = Packed("home")
TOGETHER = Places(near=HOME, far=HOME, brittle=HOME, lonely=HOME, pool=HOME)
APART = Places(near=Packed("near"), far=Packed("far"), brittle=Packed("brittle"), lonely=Dedicated(), pool=None)

together = App("stage", _app(TOGETHER))
apart = App("stage", _app(APART))

unstartable = App(
    "unstartable",
    Supervisor(
        children=[
            child(Player, id="first", placement=APART.near, config=PART),
            child(Player, id="second", placement=APART.far, config=PART),
            child(Player, id="failing", placement=APART.near, config=PART),
            child(Player, id="never", placement=APART.far, config=PART),
        ]
    ),
)
