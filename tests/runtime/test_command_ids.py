"""Ids of commands: which life of which day they are from."""

from __future__ import annotations

import uuid

from regrow.runtime.command_ids import new_command_id, reborn, uuid7
from regrow.runtime.journal_entries import JournalLimits, born_ms

BORN_MS = 1_764_000_000_123
DAY_MS = 86_400_000


def test_a_command_id_is_a_uuid_of_version_7_that_says_when_it_was_made() -> None:
    for noise in (0, (1 << 74) - 1, 0x2AA_AAAA_AAAA_AAAA_AAAA):
        made = uuid.UUID(uuid7(BORN_MS, noise))

        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert born_ms(uuid7(BORN_MS, noise)) == BORN_MS


def test_ids_of_a_later_millisecond_sort_behind_those_of_an_earlier_one() -> None:
    assert uuid7(BORN_MS, (1 << 74) - 1) < uuid7(BORN_MS + 1, 0)


def test_no_two_new_ids_are_the_same() -> None:
    assert len({new_command_id() for _ in range(1_000)}) == 1_000


def test_one_that_is_reborn_differs_in_its_time_alone() -> None:
    assert reborn(uuid7(BORN_MS, 77), BORN_MS + 5) == uuid7(BORN_MS + 5, 77)


def test_results_are_kept_for_a_day_unless_that_is_set_otherwise() -> None:
    assert JournalLimits().result_ttl_ms == DAY_MS
