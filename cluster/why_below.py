"""Who has died below a supervisor or in an app, and how an app ended of which something is kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from regrow.cluster.incident_store import Incident
from regrow.cluster.why import Death, Found, Other, life_of
from regrow.supervisors.report import ReportKind


def below(found: Found) -> tuple[Other, ...]:
    """Those of the others that it supervises, or that its supervisors do; of an app all, services too."""
    return of_those_below(found.agent, found.others)


def of_those_below(agent: str, others: tuple[Other, ...]) -> tuple[Other, ...]:
    """The same, before all is found that there is."""
    return others if "/" not in agent else tuple(other for other in others if other.agent.startswith(f"{agent}/"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Those who died at last of the same, such as all in one process; the latest of them is the last one."""

    others: tuple[Other, ...]

    @property
    def last(self) -> Death:
        """The latest of their last deaths."""
        return self.others[-1].last

    @property
    def names(self) -> str:
        """Who they are, in a few words."""
        more = len(self.others) - 1
        return self.others[-1].agent + (f" and {more:,} other{'s' * (more > 1)}" if more else "")

    @property
    def deaths(self) -> int:
        """All of them together."""
        return sum(other.deaths for other in self.others)


def groups_below(found: Found) -> tuple[Group, ...]:
    """Who died below it, by what they died of at last, in the order of the latest deaths."""
    of: dict[str, list[Other]] = {}
    for other in below(found):
        of.setdefault(str(other.last.reason["text"]), []).append(other)
    return tuple(sorted((Group(others=tuple(each)) for each in of.values()), key=lambda group: group.last.at_ms))


def is_supervisor(found: Found) -> bool:
    """Whether it supervises others, as far as that is known."""
    return found.node["kind"] == "supervisor" if found.node is not None else bool(below(found))


def last_run_ms(incidents: Iterable[Incident]) -> int:
    """When the latest run of an app began of which there are words on ends; 0 where there are none."""
    return max((life_of(each)[0] for each in incidents), default=0)


def silent_since(incidents: Sequence[Incident]) -> int:
    """When the last word on ends came of an app that has ended without one on its own end; 0 where it has one.

    Who has had trouble is told to end in order when an app is stopped, and a root that gives up is told too.
    """
    run_ms = last_run_ms(incidents)
    told: dict[str, str] = {}
    for each in incidents:
        if life_of(each)[0] == run_ms:
            told[each.agent] = str(each.about.get("kind", each.sort))
    has_ended = any("/" not in agent for agent in told)
    return 0 if has_ended or not _RUNS & set(told.values()) else incidents[-1].at_ms


_RUNS = {ReportKind.CHILD_STARTED.value, ReportKind.RESTARTING.value}
