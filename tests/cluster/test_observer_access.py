"""Who may look at an app through its page, and who may act: by address, name and token, and by nothing else."""

from __future__ import annotations

import pytest

from regrow.cluster.observer_access import Access, is_token

TOKEN = "a-token-that-nobody-guesses-0123456789"
HERE = Access(token=TOKEN, host="127.0.0.1")
THERE = Access(token=TOKEN, host="0.0.0.0")
WITH_TOKEN = {"authorization": f"Bearer {TOKEN}"}


def status(refusal: object) -> int | None:
    return getattr(refusal, "status", None)


def test_whoever_is_on_this_machine_may_look_without_a_token_and_do_nothing() -> None:
    assert HERE.refusal_of_look({}) is None
    assert status(HERE.refusal_of_deed({})) == 401


@pytest.mark.parametrize("access", [HERE, THERE])
def test_whoever_has_the_token_may_look_and_act(access: Access) -> None:
    assert access.refusal_of_look(WITH_TOKEN) is None
    assert access.refusal_of_deed(WITH_TOKEN) is None


def test_where_other_machines_can_ask_a_look_needs_the_token() -> None:
    assert status(THERE.refusal_of_look({})) == 401


@pytest.mark.parametrize("header", ["x-forwarded-for", "forwarded", "via", "x-real-ip"])
def test_whoever_comes_through_a_proxy_is_not_on_this_machine(header: str) -> None:
    assert status(HERE.refusal_of_look({header: "203.0.113.9"})) == 401
    assert HERE.refusal_of_look({header: "203.0.113.9", **WITH_TOKEN}) is None


@pytest.mark.parametrize(
    "given", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \u00e9"]
)
def test_what_is_not_the_token_opens_nothing(given: str) -> None:
    assert status(HERE.refusal_of_deed({"authorization": given})) == 401
    assert given == "" or TOKEN not in str(HERE.refusal_of_deed({"authorization": given}))


def test_a_wrong_token_is_refused_where_none_is_needed_so_that_its_owner_learns_of_it() -> None:
    assert status(HERE.refusal_of_look({"authorization": "Bearer wrong"})) == 401


@pytest.mark.parametrize("host", ["localhost:8428", "127.0.0.1:8428", "[::1]:8428", "192.168.1.7", "LocalHost"])
def test_this_machine_is_asked_for_by_its_addresses_and_names(host: str) -> None:
    assert HERE.refusal_of_any({"host": host}) is None


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8428", "127.0.0.1.evil.example", "a@127.0.0.1", "::1"]
)
def test_a_name_of_others_that_leads_here_is_answered_with_nothing(host: str) -> None:
    assert status(HERE.refusal_of_any({"host": host, **WITH_TOKEN})) == 421


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_others_get_nothing_and_links_on_them_lead_here(site: str) -> None:
    host = {"host": "127.0.0.1:8428", "sec-fetch-site": site}

    assert status(HERE.refusal_of_any({**host, "sec-fetch-mode": "no-cors"})) == 403
    assert HERE.refusal_of_any({**host, "sec-fetch-mode": "navigate"}) is None


def test_a_token_does_not_show_where_its_decider_is_printed() -> None:
    assert TOKEN not in repr(HERE)


def test_a_token_is_long_and_can_be_sent() -> None:
    assert is_token(TOKEN)
    assert not is_token("short")
    assert not is_token("with a space in it, and more")
