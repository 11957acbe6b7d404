"""What hosts tell of themselves is kept when they are gone, and no total ever goes back."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from regrow.cluster.host_book import GONE_SHOWN, HostBook, HostTold
from regrow.cluster.letters import Letter, Letters
from regrow.cluster.metrics import Counted, HostMetrics
from regrow.cluster.prometheus_text import GONE_SERVED_S, text_of
from regrow.runtime.address import HostId

ONE, TWO = HostId("one"), HostId("two")


def told(host: HostId, *, at_s: float, turns: int = 0, letter_ages_s: tuple[float, ...] = ()) -> HostTold:
    letters = tuple(
        Letter(age_s=age_s, reason="expired", message="Note", sender="a", receiver="b", incarnation=0)
        for age_s in sorted(letter_ages_s, reverse=True)
    )
    counts = (("expired", len(letters)),) if letters else ()
    counted = Counted(turns=turns, dead_letters=counts)
    metrics = HostMetrics(host=host, pid=7, node="here", agents=1, mailbox_depth=3, loop_lag_s=0.5, counted=counted)
    return HostTold(at_s=at_s, metrics=metrics, letters=Letters(counts=counts, latest=letters))


def test_dead_letters_that_a_host_told_outlive_it_and_are_counted_once() -> None:
    book = HostBook()
    book.note(ONE, told(ONE, at_s=1.0, letter_ages_s=(1.0,)), now_s=10.0)
    book.note(ONE, told(ONE, at_s=3.0, letter_ages_s=(1.0, 3.0)), now_s=12.0)
    book.note(TWO, told(TWO, at_s=3.0, letter_ages_s=(2.0,)), now_s=12.0)

    book.close({TWO}, now_s=20.0)
    book.close(set(), now_s=30.0)

    letters = book.letters(now_s=32.0)
    assert dict(letters.counts) == {"expired": 3}
    assert [letter.age_s for letter in letters.latest] == [23.0, 22.0, 21.0]


def test_a_word_of_a_host_that_comes_late_takes_nothing_back() -> None:
    book = HostBook()

    book.note(ONE, told(ONE, at_s=2.0, turns=5, letter_ages_s=(1.0, 2.0)), now_s=10.0)
    book.note(ONE, told(ONE, at_s=1.0, turns=4, letter_ages_s=(1.0,)), now_s=10.1)

    assert book.letters(now_s=11.0).total == 2
    assert book.metrics(now_s=11.0).total.turns == 5


def test_a_host_that_is_gone_is_told_by_what_it_has_counted_and_by_nothing_that_it_is_no_more() -> None:
    book = HostBook()
    book.note(ONE, told(ONE, at_s=1.0, turns=5), now_s=1.0)
    book.note(TWO, told(TWO, at_s=1.0, turns=2), now_s=1.0)

    book.close({TWO}, now_s=2.0)

    two, one = book.metrics(now_s=5.0).hosts
    assert (two.host, two.alive, two.agents, two.mailbox_depth) == (TWO, True, 1, 3)
    assert (one.host, one.alive, one.agents, one.mailbox_depth, one.loop_lag_s) == (ONE, False, 0, 0, 0.0)
    assert (one.pid, one.node, one.counted.turns, one.gone_s) == (7, "here", 5, 3.0)


def test_of_many_hosts_that_are_gone_the_latest_are_told_one_by_one_and_the_total_holds_all() -> None:
    book = HostBook()
    hosts = [HostId(f"host-{number}") for number in range(GONE_SHOWN + 5)]
    for host in hosts:
        book.note(host, told(host, at_s=1.0, turns=1), now_s=1.0)
        book.close(set(), now_s=2.0)

    metrics = book.metrics(now_s=3.0)

    assert [each.host for each in metrics.hosts] == hosts[-GONE_SHOWN:]
    assert metrics.total.turns == len(hosts)


def test_an_app_whose_hosts_come_and_go_for_hours_serves_few_of_them_and_in_the_end_those_that_live() -> None:
    book, served, most = HostBook(), set[str](), 0
    for number in range(200):
        host, now_s = HostId(f"host-{number}"), number * 60.0
        book.note(host, told(host, at_s=1.0, turns=1), now_s=now_s)
        book.close({host}, now_s=now_s)
        served = hosts_in(text_of(book.metrics(now_s), "desk"))
        most = max(most, len(served))
    late = text_of(book.metrics(200 * 60.0 + GONE_SERVED_S), "desk")

    assert {"host-199", "host-198"} < served
    assert most <= 2 + GONE_SERVED_S / 60
    assert hosts_in(late) == {"host-199"}
    assert book.metrics(1e9).total.turns == 200


def hosts_in(text: str) -> set[str]:
    """The hosts of which there are series."""
    families = text_string_to_metric_families(text)
    return {sample.labels["host"] for family in families for sample in family.samples}
