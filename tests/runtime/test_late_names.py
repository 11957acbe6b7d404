"""Rooms whose names are loaded when they are first used look like all others."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import pytest

LATE = ["regrow", "regrow.memory", "regrow.router", "regrow.runtime"]


@pytest.fixture(params=LATE)
def room(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


def test_dir_shows_exactly_what_there_is(room: ModuleType) -> None:
    assert dir(room) == sorted(room.__all__)
    assert all(getattr(room, name) is not None for name in dir(room))


def test_a_name_is_the_same_each_time(room: ModuleType) -> None:
    for name in room.__all__:
        assert getattr(room, name) is getattr(room, name)


def test_a_name_that_is_not_there_is_missed_as_in_any_module(room: ModuleType) -> None:
    with pytest.raises(AttributeError, match=rf"module '{room.__name__}' has no attribute 'nothing_like_it'"):
        room.nothing_like_it  # noqa: B018 # reading it is the point
