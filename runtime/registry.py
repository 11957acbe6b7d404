"""Names and groups of a whole app: the first who takes a name has it until that life ends (SEMANTICS 3).

One actor keeps them, in the process that holds the supervisors; everybody reaches it by `runtime.names`.
`Registry` is the pure bookkeeping; `RegistryBehavior` answers for it. What is held belongs to one life of
an actor and goes with it: the actor gives it back before anybody hears of its end, or the verdict on its
host takes it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from regrow.runtime.address import ActorId, HostId
from regrow.runtime.errors import Bug, Refused, RegistryFull
from regrow.runtime.message import Message, Request

REGISTRY = ActorId("~names")
"""The id of the actor that keeps names and groups; no agent can have it, since theirs begin with the app's name."""

MAX_NAMES = 1_000_000
"""How many names an app may hold at once."""
MAX_MEMBERSHIPS = 1_000_000
"""How many memberships all groups of an app may have together."""
MAX_GROUP = 10_000
"""How many memberships one group may have: whoever asks for its members gets all of them in one reply."""


class Held(Message):
    """One life of an actor, and the host that it runs in."""

    actor: str
    incarnation: int
    host: str

    def __hash__(self) -> int:
        return hash((self.actor, self.incarnation))


class Holders(Message):
    """The lives that hold a name (one or none) or the memberships of a group."""

    lives: tuple[Held, ...]


class Register(Request[Holders]):
    """Take a name for a life; the reply is who has it now."""

    name: str
    held: Held


class Unregister(Request[bool]):
    """Give a name back; False when that life does not have it."""

    name: str
    held: Held


class WhoHas(Request[Holders]):
    """Who has this name?"""

    name: str


class Join(Request[bool]):
    """One membership more for a life."""

    group: str
    held: Held


class Leave(Request[bool]):
    """One membership less; False when it has none."""

    group: str
    held: Held


class MembersOf(Request[Holders]):
    """All memberships of this group."""

    group: str


class GiveBack(Request[bool]):
    """The life ends: everything that it holds is free when this is answered."""

    held: Held


class Registry:
    """Who holds what. Names are unique; groups are multisets."""

    def __init__(self) -> None:
        self._names: dict[str, Held] = {}
        self._groups: dict[str, Counter[Held]] = {}
        self._memberships = 0
        self._names_of: defaultdict[Held, dict[str, None]] = defaultdict(dict)
        self._groups_of: defaultdict[Held, dict[str, None]] = defaultdict(dict)
        self._at: defaultdict[str, dict[Held, None]] = defaultdict(dict)
        """The lives that hold anything, by their host."""

    def register(self, name: str, life: Held) -> Held:
        """Takes a name for a life; returns who has it now, which is another if that one came first."""
        held = self._names.get(name)
        if held is None:
            if len(self._names) >= MAX_NAMES:
                raise RegistryFull(f"the app holds {MAX_NAMES} names already; give back what nobody looks up")
            held = self._names[name] = life
            self._names_of[life][name] = None
            self._at[life.host][life] = None
        return held

    def whereis(self, name: str) -> Held | None:
        """Who has the name."""
        return self._names.get(name)

    def unregister(self, name: str, life: Held) -> bool:
        """Gives a name back; only its owner can."""
        if self._names.get(name) != life:
            return False
        del self._names[name]
        del self._names_of[life][name]
        self._tidy(life)
        return True

    def join(self, group: str, life: Held) -> None:
        """Adds one membership. Raises RegistryFull."""
        members = self._groups.get(group)
        if members is not None and members.total() >= MAX_GROUP:
            raise RegistryFull(f"group {group!r} has {MAX_GROUP} memberships already; split it, or leave what is stale")
        if self._memberships >= MAX_MEMBERSHIPS:
            raise RegistryFull(f"the app's groups have {MAX_MEMBERSHIPS} memberships already; leave what is stale")
        self._groups.setdefault(group, Counter())[life] += 1
        self._memberships += 1
        self._groups_of[life][group] = None
        self._at[life.host][life] = None

    def leave(self, group: str, life: Held) -> bool:
        """Removes one membership; False when there is none."""
        members = self._groups.get(group)
        if members is None or not members[life]:
            return False
        self._memberships -= 1
        members[life] -= 1
        if not members[life]:
            self._drop(group, life)
            del self._groups_of[life][group]
            self._tidy(life)
        return True

    def members(self, group: str) -> list[Held]:
        """All memberships of a group in the order of the first joins, a life as often as it joined."""
        members = self._groups.get(group)
        return list(members.elements()) if members is not None else []

    def free(self, life: Held) -> None:
        """Takes everything from a life that is over."""
        for name in self._names_of.pop(life, ()):
            del self._names[name]
        for group in self._groups_of.pop(life, ()):
            self._memberships -= self._groups[group][life]
            self._drop(group, life)
        self._tidy(life)

    def host_died(self, host: HostId) -> None:
        """Takes everything from all lives of a dead host."""
        for life in list(self._at.get(host, ())):
            self.free(life)

    def __len__(self) -> int:
        """How many names and memberships are held."""
        return len(self._names) + self._memberships

    def holders(self) -> Iterator[Held]:
        """The lives that hold anything."""
        for lives in self._at.values():
            yield from lives

    def _drop(self, group: str, life: Held) -> None:
        members = self._groups[group]
        del members[life]
        if not members:
            del self._groups[group]

    def _tidy(self, life: Held) -> None:
        """Forgets a life that holds nothing any more, so that the index is never larger than what is held."""
        for index in (self._names_of, self._groups_of):
            if life in index and not index[life]:
                del index[life]
        if life not in self._names_of and life not in self._groups_of and life.host in self._at:
            self._at[life.host].pop(life, None)
            if not self._at[life.host]:
                del self._at[life.host]


class RegistryBehavior:
    """Answers for a registry. `is_dead` says whether a host is known to be dead."""

    def __init__(self, registry: Registry, is_dead: Callable[[HostId], bool]) -> None:
        self._registry = registry
        self._is_dead = is_dead

    async def started(self, ctx: Any) -> None:
        """See Behavior."""

    async def stopping(self, reason: Any, ctx: Any) -> None:
        """See Behavior."""

    async def handle(self, message: Any, ctx: Any) -> Holders | bool:
        """Answers one request. Raises Refused for anything else: whatever is sent here, names are kept."""
        registry = self._registry
        match message:
            case Register() | Join() if self._is_dead(HostId(message.held.host)):
                # It was on its way when its host died. What the verdict has freed must not be taken for the dead.
                raise Refused(f"the host of {message.held.actor} has died")
            case Register():
                return Holders(lives=(registry.register(message.name, message.held),))
            case Unregister():
                return registry.unregister(message.name, message.held)
            case WhoHas():
                held = registry.whereis(message.name)
                return Holders(lives=(held,) if held is not None else ())
            case Join():
                registry.join(message.group, message.held)
                return True
            case Leave():
                return registry.leave(message.group, message.held)
            case MembersOf():
                return Holders(lives=tuple(registry.members(message.group)))
            case GiveBack():
                registry.free(message.held)
                return True
            case Message():
                raise Refused(f"{REGISTRY} keeps names and groups and has no use for {type(message).__name__}")
            case _:
                raise Bug(f"{message!r} is no message")
