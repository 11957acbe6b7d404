"""Random trees and traces for hypothesis, made so that most events hit something that runs.

What is never made, and why, stands in docs/ORACLE.md.
"""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from regrow.supervisors.spec import AutoShutdownName, RestartName, StrategyName
from tests.oracle.trace import (
    DYNAMIC,
    Admin,
    Advance,
    Event,
    Exit,
    Fail,
    Hook,
    How,
    Kid,
    Op,
    Shutdown,
    Sup,
    Together,
    Trace,
    WorkerKind,
    parent,
    paths,
)

LEVELS = 3
"""Of supervisors, the root among them."""

NEW = ("n", "m")
"""Ids for children that operators start."""

STRATEGIES: SearchStrategy[StrategyName] = st.sampled_from(("one_for_one", "rest_for_one", "one_for_all"))
RESTARTS: SearchStrategy[RestartName] = st.sampled_from(
    ("permanent", "permanent", "transient", "transient", "temporary")
)
AUTO: SearchStrategy[AutoShutdownName] = st.sampled_from(
    ("never", "never", "any_significant", "all_significant", "all_significant")
)
KINDS: SearchStrategy[WorkerKind] = st.sampled_from(("plain", "plain", "plain", "plain", "sour", "stubborn"))
HOWS: SearchStrategy[How] = st.sampled_from(("error", "error", "kill", "normal", "shutdown", "detail"))
OPS: SearchStrategy[Op] = st.sampled_from(("stop", "stop", "restart", "restart", "delete", "start", "spec"))
WORKER_LIMITS: SearchStrategy[Shutdown] = st.sampled_from(("default", "default", 0, 60.0, None))
STUBBORN_LIMITS: SearchStrategy[Shutdown] = st.sampled_from((0.001, 0))
SUPERVISOR_LIMITS: SearchStrategy[Shutdown] = st.sampled_from(("default", "default", 60.0, 0))

SLOW_S = 0.09
"""The limit of the one child in a tree that makes the limits of those above it run out first."""

RUNS_OUT_S = {2: 0.05, 3: 0.02}
"""That of a supervisor of this level, while a child below it does not hear. It is in real time on OTP's
side: the other children of a tree take some milliseconds at most, so no two limits meet."""


@st.composite
def kids(draw: DrawFn, id: str, *, level: int, significant: bool) -> Kid:
    """A child of a supervisor of that level; significant at times, where it may be."""
    nested = level < LEVELS and draw(st.integers(0, 9)) >= 6
    restart = draw(RESTARTS)
    target = draw(sups(level=level + 1)) if nested else draw(KINDS)
    limits = SUPERVISOR_LIMITS if nested else STUBBORN_LIMITS if target == "stubborn" else WORKER_LIMITS
    marked = significant and restart != "permanent" and draw(st.booleans())
    return Kid(id, target, restart, draw(limits), marked)


@st.composite
def sups(draw: DrawFn, *, level: int = 1) -> Sup:
    """A supervisor with all that is below it; one of five is dynamic."""
    if draw(st.integers(0, 4)) == 4:
        made_of = draw(kids("w", level=level, significant=False))
        return Sup((made_of,), DYNAMIC, draw(st.integers(1 if level == 1 else 0, 4)), draw(st.integers(1, 5)))
    auto_shutdown = draw(AUTO)
    count = draw(st.integers(1 if level == 1 else 0, 5 - level))
    return Sup(
        kids=tuple(draw(kids(id, level=level, significant=auto_shutdown != "never")) for id in "abcd"[:count]),
        strategy=draw(STRATEGIES),
        max_restarts=draw(st.integers(1 if level == 1 else 0, 4)),
        within_s=draw(st.integers(1, 5)),
        auto_shutdown=auto_shutdown,
    )


@st.composite
def slowed(draw: DrawFn, sup: Sup, *, level: int = 1) -> Sup:
    """The same tree with one child that does not hear, for longer than those above it may take to stop."""
    if not sup.kids:
        return sup
    nested = [place for place, kid in enumerate(sup.kids) if isinstance(kid.target, Sup)]
    place = draw(st.sampled_from([*nested * 3, *range(len(sup.kids))]))
    kid = sup.kids[place]
    if isinstance(kid.target, Sup):
        limit = draw(st.sampled_from((kid.shutdown_s, RUNS_OUT_S[level + 1], RUNS_OUT_S[level + 1])))
        kid = replace(kid, target=draw(slowed(kid.target, level=level + 1)), shutdown_s=limit)
    else:
        kid = replace(kid, target="stubborn", shutdown_s=SLOW_S)
    return replace(sup, kids=(*sup.kids[:place], kid, *sup.kids[place + 1 :]))


class _Places:
    """What there is in one tree to do something to."""

    def __init__(self, tree: Sup) -> None:
        self.sups: list[str] = []
        self.dynamic: dict[str, Kid] = {}
        """What each dynamic supervisor makes its children of."""
        self.numbered: list[str] = []
        """The children of dynamic supervisors that were asked for so far; no name comes twice."""
        self.workers: list[str] = []
        self.children: list[str] = []
        self.added: list[str] = []
        self._add(Kid("", tree), "")
        for path, kid in paths(tree):
            self._add(kid, path)

    def _add(self, kid: Kid, path: str) -> None:
        """One more place, with what its supervisor is."""
        if path:
            self.children.append(path)
        if not isinstance(kid.target, Sup):
            self.workers.append(path)
            return
        self.sups.append(path)
        self.added.append(_join(path, NEW[0]))
        if kid.target.dynamic:
            (self.dynamic[path],) = kid.target.kids

    def any_worker(self) -> SearchStrategy[str]:
        """The path of a worker."""
        return st.sampled_from([*self.workers * 3, *self.added])

    def any_child(self) -> SearchStrategy[str]:
        """The path of a child, at times one of which only an operator knows."""
        return st.sampled_from([*self.children * 3, *self.added])

    def one_more(self, sup: str) -> Admin:
        """The call for one more child of a dynamic supervisor."""
        path = _join(sup, str(1 + sum(parent(other) == sup for other in self.numbered)))
        self.numbered.append(path)
        made_of = self.dynamic[sup]
        self._add(made_of, path)
        if isinstance(made_of.target, Sup):
            for below, kid in paths(made_of.target, path):
                self._add(kid, below)
        return Admin("start", path)

    def siblings(self, path: str) -> list[str]:
        """The children of the same supervisor, itself and one that an operator may have added among them."""
        above = parent(path)
        children = (child for child in self.children if parent(child) == above)
        return [*children, _join(above, NEW[0])]

    def workers_below(self, sup: str) -> list[str]:
        """The workers directly below it."""
        return [path for path in [*self.workers, *self.added] if parent(path) == sup]


def _join(sup: str, id: str) -> str:
    return f"{sup}/{id}" if sup else id


@st.composite
def admins(draw: DrawFn, places: _Places, candidates: list[str]) -> Admin:
    """A call about one of these children; `start` at times of one that is not there yet."""
    op, path = draw(OPS), draw(st.sampled_from(candidates))
    if op != "start":
        return Admin(op, path)
    above = parent(path)
    if above in places.dynamic and draw(st.integers(0, 9)) < 9:  # else a start that does not fit it
        return places.one_more(above)
    new = draw(st.sampled_from((path, *(_join(above, id) for id in NEW))))
    level = LEVELS if draw(st.integers(0, 9)) < 8 else LEVELS - 1
    return Admin(op, new, draw(kids(new.rpartition("/")[2], level=level, significant=draw(st.booleans()))))


@st.composite
def fails(draw: DrawFn, places: _Places, path: str) -> Fail:
    """A few failing starts, at times with something that happens to a sibling meanwhile."""
    near = places.siblings(path)
    workers = [sibling for sibling in near if sibling in (*places.workers, *places.added)]

    def hook() -> Hook:
        match draw(st.integers(0, 9)):
            case 0 | 1 | 2:
                return draw(admins(places, near))
            case 4 | 5:
                return Admin(
                    draw(st.sampled_from(("stop", "restart", "delete"))), path
                )  # while it waits for its restart
            case 3 if workers:
                return Exit(draw(st.sampled_from(workers)), draw(HOWS))
            case _:
                return None

    return Fail(path, tuple(hook() for _ in range(draw(st.integers(1, 3)))))


@st.composite
def events(draw: DrawFn, places: _Places) -> tuple[Event, ...]:
    """One event, or two that belong together."""
    match draw(st.integers(0, 19)):
        case 16 | 17 | 18 if places.dynamic:
            return (places.one_more(draw(st.sampled_from(list(places.dynamic)))),)
        case 0 | 1 | 2:
            return (Exit(draw(places.any_worker()), draw(HOWS)),)
        case 3 | 4 | 5 | 6:
            path = draw(places.any_worker())
            # Often it is another that does not come back, so that a restart fails in its middle.
            failing = path if path in places.numbered else draw(st.sampled_from(places.siblings(path)))
            return draw(fails(places, failing)), Exit(path, draw(st.sampled_from(("error", "kill"))))
        case 7 | 8 | 9 | 10:
            return (draw(admins(places, [draw(places.any_child())])),)
        case 19:
            path = draw(places.any_worker())  # what an operator has done meets the restart of a sibling
            return draw(admins(places, places.siblings(path))), Exit(path, "error")
        case 11:
            return (Exit(draw(st.sampled_from([*places.sups[1:] * 5, ""])), "kill"),)
        case 12 | 13:
            return (Advance(draw(st.integers(1, 6))),)
        case _:
            return (draw(batches(places)),)


@st.composite
def batches(draw: DrawFn, places: _Places) -> Together:
    """Several things that one supervisor finds in its mailbox at once, in any order."""
    sup = draw(st.sampled_from(places.sups))
    near = places.siblings(_join(sup, NEW[0]))
    happens: list[Exit | Admin] = []
    for path in draw(st.lists(st.sampled_from(near), max_size=3, unique=True)):
        happens.append(Exit(path, "kill" if path in places.sups else draw(HOWS)))
    happens += draw(st.lists(admins(places, near), max_size=2))
    return Together(sup, tuple(draw(st.permutations(happens))))


@st.composite
def traces(draw: DrawFn) -> Trace:
    """A tree and up to a dozen events."""
    tree = draw(sups())
    if draw(st.integers(0, 7)) == 7:
        tree = draw(slowed(tree))
    places = _Places(tree)
    grown = [places.one_more(sup) for sup in list(places.dynamic) for _ in range(draw(st.integers(0, 4)))]
    first = (draw(fails(places, draw(places.any_child()))),) if draw(st.integers(0, 19)) == 19 else ()
    groups = draw(st.lists(events(places), min_size=1, max_size=9))
    return Trace(tree, (*grown, *(event for group in groups for event in group)), first)
