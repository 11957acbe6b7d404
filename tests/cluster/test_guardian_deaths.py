"""How a driver counts the deaths of its guardian, also of lives that it has never seen."""

from __future__ import annotations

from regrow.cluster.guardian_deaths import GuardianDeaths
from regrow.cluster.orders import GuardianStarted
from regrow.runtime import Escalated


def life(name: str, restarts: int) -> GuardianStarted:
    return GuardianStarted(life=name, pid=1, restarts=restarts)


def of_one_restart_within_an_hour(restarts: int = 0) -> GuardianDeaths:
    return GuardianDeaths(life("first", restarts), max_restarts=1, within_s=3_600.0)


def test_a_life_that_died_before_it_told_anybody_counts() -> None:
    deaths = of_one_restart_within_an_hour()

    ended = deaths.follow(life("third", restarts=2), now_s=1.0)

    assert ended == Escalated(child="the guardian", restarts=2, cause="see the logs of Ray")


def test_what_ray_had_restarted_before_the_driver_came_does_not_count() -> None:
    deaths = of_one_restart_within_an_hour(restarts=7)

    assert deaths.follow(life("second", restarts=8), now_s=1.0) is None


def test_each_new_life_counts_once_where_ray_does_not_tell_how_many_there_were() -> None:
    deaths = of_one_restart_within_an_hour()

    assert deaths.follow(life("second", restarts=0), now_s=1.0) is None
    assert deaths.follow(life("third", restarts=0), now_s=2.0) is not None


def test_deaths_that_are_older_than_the_window_are_forgotten() -> None:
    deaths = of_one_restart_within_an_hour()

    assert deaths.follow(life("second", restarts=1), now_s=1.0) is None
    assert deaths.follow(life("third", restarts=2), now_s=4_000.0) is None


def test_the_same_life_again_is_no_news() -> None:
    deaths = of_one_restart_within_an_hour()
    deaths.follow(life("second", restarts=1), now_s=1.0)

    assert not deaths.is_news(life("second", restarts=1))
    assert deaths.is_news(life("first", restarts=0))
