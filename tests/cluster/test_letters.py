"""The dead letters of a whole app: exact counts, and the latest of all processes."""

from __future__ import annotations

from structlog.testing import capture_logs

from regrow.cluster.letters import Letter, Letters, told_by
from regrow.runtime.dead_letters import KEPT, DeadLetters
from tests.runtime.scripted import tell


def letters(*ages_s: float, reason: str = "expired") -> Letters:
    latest = tuple(
        Letter(age_s=age_s, reason=reason, message="Note", sender="a", receiver="b", incarnation=0)
        for age_s in sorted(ages_s, reverse=True)
    )
    return Letters(counts=((reason, len(ages_s)),), latest=latest)


def test_a_process_tells_its_dead_letters_as_ages() -> None:
    dead = DeadLetters(lambda: 100.0)
    with capture_logs():
        dead.add(tell(receiver="desk/clerk"), "expired", 3)

    told = told_by(dead, 107.0)

    assert told.counts == (("expired", 1),)
    (letter,) = told.latest
    assert (letter.age_s, letter.receiver, letter.message, letter.incarnation) == (7.0, "desk/clerk", "Note", 3)


def test_the_latest_of_several_processes_are_told_oldest_first_and_no_more_than_a_bound() -> None:
    many = letters(*range(KEPT), reason="crashed")

    both = letters(0.5, KEPT + 5.0).with_more(many)

    assert dict(both.counts) == {"expired": 2, "crashed": KEPT}
    assert len(both.latest) == KEPT
    ages = [letter.age_s for letter in both.latest]
    assert ages == sorted(ages, reverse=True)
    assert 0.5 in ages
    assert KEPT + 5.0 not in ages
