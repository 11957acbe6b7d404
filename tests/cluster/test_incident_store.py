"""The file of the incidents: bounded for each agent and in all. Of its disk see test_sqlite_file.py."""

from __future__ import annotations

from pathlib import Path

from regrow.cluster.incident_store import KEPT_OF, IncidentFile, IncidentStore, Sort
from tests.cluster.incident_rows import death, loss

PLENTY = 1_000_000


def test_what_was_kept_is_read_while_the_writer_goes_on_and_afterwards(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, limit_bytes=PLENTY)
    store.write([death(1)], {"losses": 2})
    store.write([death(2)], {"losses": 3})
    file = IncidentFile(store.path)

    assert file.of_agent("desk/clerk") == [death(1), death(2)]
    store.close()
    assert file.of_agent("desk/clerk") == [death(1), death(2)]
    assert file.left_out() == {"losses": 5}
    assert not list(tmp_path.glob("*-wal"))


def test_a_flood_of_losses_pushes_out_no_death_and_nothing_of_others(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, limit_bytes=PLENTY)
    store.write([death(1), loss(agent="desk/other")], {})
    store.write([loss(number) for number in range(3 * KEPT_OF[Sort.LOSS])], {})
    store.close()

    kept = IncidentFile(store.path).of_agent("desk/clerk")
    assert [each.sort for each in kept].count(Sort.DEATH) == 1
    assert [each.about["message"] for each in kept[1:]] == [f"M{number}" for number in range(100, 150)]
    assert len(IncidentFile(store.path).of_agent("desk/other")) == 1


def test_the_oldest_go_when_the_file_has_reached_its_limit(tmp_path: Path) -> None:
    store = IncidentStore(tmp_path, limit_bytes=200_000)
    for number in range(100):
        store.write([death(agent=f"desk/{number}-{other}") for other in range(10)], {})
    store.close()

    agents = IncidentFile(store.path).agents()
    assert "desk/99-9" in agents
    assert "desk/0-0" not in agents
    assert store.path.stat().st_size < 400_000
