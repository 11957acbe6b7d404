"""What the room hands out: whoever uses a name of its door can import that name from it."""

from __future__ import annotations

import inspect
import re

import regrow.cluster
from regrow.cluster import Running

ROOM = "regrow.cluster."


def of_this_room() -> set[str]:
    """The names of the room's own classes in what the methods of Running give and take."""
    names: set[str] = set()
    for name, method in inspect.getmembers(Running, inspect.isfunction):
        if name.startswith("_"):
            continue
        for annotation in method.__annotations__.values():
            for word in re.findall(r"\w+", str(annotation)):
                found = method.__globals__.get(word)
                if isinstance(found, type) and found.__module__.startswith(ROOM):
                    names.add(word)
    return names


def test_all_that_a_running_app_gives_can_be_imported_from_the_room() -> None:
    wanted = of_this_room() | {"Deed", "Letter", "Life", "NoSuchAgent"}

    assert {"Counts", "Letters", "Replaced"} <= wanted
    assert wanted <= set(regrow.cluster.__all__)


def test_every_name_of_the_room_leads_to_something() -> None:
    assert all(getattr(regrow.cluster, name).__doc__ for name in regrow.cluster.__all__)
