"""The file of effects honours keys and fences, whichever process or life writes."""

from __future__ import annotations

from pathlib import Path

import pytest
from chaos_effects import EffectsFile, Fenced
from history import Effect, read_effects


def effect(key: str, epoch: int, agent: str = "desk/clerk") -> Effect:
    return Effect(effect="write", agent=agent, command="c", key=key, epoch=epoch, source="one", number=1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "effects"
    file.touch()
    return file


def test_a_key_is_done_once_also_by_another_process_and_a_later_life(path: Path) -> None:
    lock = path.with_name("lock")
    one, other = EffectsFile(path), EffectsFile(path)

    assert one.add(effect("k", 1), lock)
    assert not other.add(effect("k", 2), lock)
    assert not one.add(effect("k", 1), lock)

    assert read_effects(path) == [effect("k", 1)]


def test_a_life_behind_a_later_one_is_refused_and_that_of_another_agent_is_not(path: Path) -> None:
    lock = path.with_name("lock")
    stopped = EffectsFile(path)
    stopped.add(effect("a", 1), lock)
    EffectsFile(path).add(effect("b", 2), lock)

    with pytest.raises(Fenced):
        stopped.add(effect("c", 1), lock)
    assert stopped.add(effect("d", 1, "desk/other"), lock)

    assert [each.key for each in read_effects(path)] == ["a", "b", "d"]
