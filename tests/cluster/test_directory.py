"""What a process remembers of where actors run."""

from __future__ import annotations

import pytest

from regrow.cluster import directory as directory_module
from regrow.cluster.directory import RememberingDirectory
from regrow.runtime import ActorId, HostId

HOST = HostId("h1")


async def everywhere(actor: ActorId) -> HostId | None:
    return HOST


async def test_a_process_forgets_the_actor_it_learnt_of_first_and_finds_it_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(directory_module, "MAX_KNOWN", 3)
    directory = RememberingDirectory(everywhere)
    actors = [ActorId(f"desk/pool/{number}") for number in range(5)]

    for actor in (*actors, actors[-1]):
        await directory.locate(actor)

    assert [directory.host_of(actor) for actor in actors] == [None, None, HOST, HOST, HOST]
    assert await directory.locate(actors[0]) == HOST
