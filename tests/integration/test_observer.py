"""What an observer answers: what happens in an app, to whom, what it does to it, and to what nobody should send."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from regrow.cluster import observer_app, observer_server
from tests.integration.apps.shop import Note, Pay, Say
from tests.integration.observed import SCRIPT, Observed, observed
from tests.integration.waiting import until_now

pytestmark = pytest.mark.slow

DEATHS = 3


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    """The shop, shown."""
    with observed(folder=tmp_path_factory.mktemp("shop")) as made:
        yield made


def first(shop: Observed, *parts: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    """What a page knows once it knows these parts."""
    known: dict[str, Any] = {}
    with shop.frames(headers=headers) as frames:
        for told in frames:
            known |= told
            if all(part in known for part in parts):
                return known
    raise AssertionError(f"the stream has ended with {sorted(known)}")


def nobody_looks(shop: Observed) -> bool:
    """Whether the places of all pages are free."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(observer_app, "PAGES_LIMIT", 0)
        return bool(shop.request("/events").json["error"].startswith("0 pages look"))


def lives_told(told: dict[str, Any]) -> int:
    """Of how many lives of the scribe that came behind another a page is told."""
    return sum("scribe" in news["agent"] and "lives again" in news["what"] for news in told.get("news", ()))


# ---- what is shown -------------------------------------------------------------------------------


def test_a_page_is_told_the_tree_at_once_and_each_death(shop: Observed) -> None:
    with shop.frames() as frames:
        told = next(frames)
        rows = told["tree"]["rows"]
        assert rows["shop"]["below"]["agents"] == 155
        assert not rows["shop/readers"]["open"]

        for number in range(lives_told(told), lives_told(told) + DEATHS):
            shop.tell("shop/desk/scribe", Note(text=SCRIPT))
            next(told for told in frames if lives_told(told) > number)

    reasons = [
        first(shop, "tree", headers=headers)["tree"]["rows"]["shop/desk/scribe"]["reason"]
        for headers in (None, shop.authorized)
    ]
    assert reasons == ["ValueError", f"ValueError: {SCRIPT}"]


def test_what_is_opened_is_told_and_looked_for_is_found(shop: Observed) -> None:
    with shop.frames("opened=shop&opened=shop/readers&shown=10") as frames:
        opened = next(frames)["tree"]["rows"]
    with shop.frames("find=reader-15") as frames:
        found = next(frames)["tree"]["rows"]

    assert (opened["shop/readers"]["more"], "shop/readers/reader-10" in opened) == (140, True)
    assert list(found) == ["shop/readers/reader-15", "shop/readers/reader-150"]


def test_dead_letters_quarantine_and_waits_are_told_and_arguments_to_those_who_may_act(shop: Observed) -> None:
    shop.tell("shop/nobody", Note(text="x"))
    shop.tell("shop/cashier", Pay(to="", cents=1))
    shop.tell("shop/cashier", Pay(to=SCRIPT, cents=5_000))

    def told() -> tuple[dict[str, Any], dict[str, Any]] | None:
        all_of_it = ("letters", "quarantine", "waits", "metrics")
        stranger, owner = first(shop, *all_of_it), first(shop, *all_of_it, headers=shop.authorized)
        is_lost = "no_such_agent" in owner["letters"].get("counts", ())  # others may have been lost before
        is_there = is_lost and owner["quarantine"].get("rows") and stranger["waits"].get("rows")
        all_run = owner["metrics"].get("total", {}).get("agents") == 155
        return (stranger, owner) if is_there and all_run else None

    stranger, owner = until_now(told, "all of it is seen")

    (wait,) = owner["waits"]["rows"]
    assert json.loads(wait["call"]["arguments"]) == {"to": SCRIPT, "cents": 5_000}
    assert stranger["waits"]["rows"][0]["call"]["arguments"] == ""
    assert (stranger["may_act"], owner["may_act"]) == (False, True)


def test_traces_are_listed_with_what_they_cost_and_one_is_told_as_rows(shop: Observed) -> None:
    shop.do(lambda: shop.running.ref("shop/desk/analyst").ask(Say(text="When does the shop open?")))

    def listed() -> dict[str, Any] | None:
        told: dict[str, Any] = shop.request("/traces").json
        whole = [each for each in told["traces"] if each["input_tokens"] and each["root"].startswith("send ")]
        return told if told["spent"] and whole else None

    told = until_now(listed, "the trace is stored")
    newest = next(each for each in told["traces"] if each["input_tokens"])
    trace = shop.request(f"/traces/{newest['trace_id']}").json
    owners = shop.request(f"/traces/{newest['trace_id']}", headers=shop.authorized).json

    assert told["spent"][0]["agent"] == "shop/desk/analyst"
    assert [row["depth"] for row in trace["rows"]][:2] == [0, 1]
    assert any(row["name"].startswith("chat") for row in trace["rows"])
    assert "attributes" not in trace["rows"][0]
    assert "attributes" in owners["rows"][0]


def test_what_a_failed_span_says_is_told_to_those_who_may_act_alone(shop: Observed) -> None:
    shop.tell("shop/desk/scribe", Note(text=SCRIPT))

    def failed() -> str | None:
        listed = shop.request("/traces").json["traces"]
        return next((each["trace_id"] for each in listed if each["errors"] and "scribe" in each["root"]), None)

    path = f"/traces/{until_now(failed, 'the trace is stored')}"
    stranger, owner = (
        [row["error"] for row in shop.request(path, headers=headers).json["rows"] if row["error"]]
        for headers in ({}, shop.authorized)
    )

    assert stranger == ["ValueError"]
    assert owner[0].startswith("ValueError: ")


def test_nothing_that_a_stranger_is_told_holds_what_people_have_written(shop: Observed) -> None:
    word = "Xanthippe"
    shop.tell("shop/desk/scribe", Note(text=word))
    shop.tell("shop/till", Pay(to=word, cents=5_000))
    shop.tell("shop/nobody", Note(text=word))
    parts = ("tree", "letters", "quarantine", "waits", "metrics", "news")

    def told(headers: dict[str, str]) -> str:
        known = json.dumps(first(shop, *parts, headers=headers))
        listed = shop.request("/traces", headers=headers)
        ids = [each["trace_id"] for each in listed.json["traces"]]
        traces = [shop.request(f"/traces/{id}", headers=headers).text for id in ids]
        return " ".join([known, listed.text, *traces])

    until_now(lambda: told(shop.authorized).count(word) >= 3, "its owner is told it: as error, arguments and trace")
    stranger = told({})
    (row,) = [
        each for each in first(shop, "waits", headers=shop.authorized)["waits"]["rows"] if word in str(each["call"])
    ]
    shop.order(do="approve", id=row["id"], fields={"approved": False, "reason": "it was a test"})

    assert "shop/till" in stranger
    assert word not in stranger


# ---- what is done --------------------------------------------------------------------------------


def test_a_kill_and_a_restart_are_done_and_told(shop: Observed) -> None:
    killed, restarted = (shop.order(do=deed, agent="shop/desk/analyst") for deed in ("kill", "restart"))

    assert killed.json["text"].startswith("shop/desk/analyst was killed")
    assert "runs again after" in restarted.json["text"]


def test_consent_is_given_and_a_message_in_quarantine_is_looked_at_and_put_back(shop: Observed) -> None:
    shop.tell("shop/till", Pay(to="", cents=2))
    shop.tell("shop/till", Pay(to="Ann", cents=9_000))

    def there() -> tuple[str, str] | None:
        told = first(shop, "waits", "quarantine", headers=shop.authorized)
        wanted, aside = (
            [row["id"] for row in told[part].get("rows", ()) if row["agent"] == "shop/till"]
            for part in ("waits", "quarantine")
        )
        return (wanted[0], aside[0]) if wanted and aside else None

    waiting, aside = until_now(there, "one waits, and one is set aside")
    shown = shop.order(do="show", id=aside).json["message"]
    said = [
        shop.order(do="approve", id=waiting, fields={"approved": True}),
        shop.order(do="requeue", id=aside),
    ]

    assert shown["fields"]["to"] == ""
    assert "there is nobody to pay" in shown["reason"] + str(shown["history"])
    assert [answer.status for answer in said] == [200, 200]
    assert "has its answer" in said[0].json["text"]
    assert "in its agent's mailbox again" in said[1].json["text"]


@pytest.mark.parametrize(
    ("order", "status", "says"),
    [
        ({"do": "kill", "agent": "shop/nobody"}, 400, "shop/nobody"),
        ({"do": "kill", "agent": "other/agent"}, 400, "nothing of shop"),
        ({"do": "kill"}, 400, "agent"),
        ({"do": "format", "agent": "shop/desk"}, 400, "can not be read"),
        ({"do": "approve", "id": "shop/cashier"}, 400, "APP/AGENT@COMMAND"),
    ],
)
def test_an_order_that_can_not_be_is_one_sentence(
    shop: Observed, order: dict[str, Any], status: int, says: str
) -> None:
    answer = shop.order(**order)

    assert (answer.status, says in answer.json["error"]) == (status, True)


# ---- who gets in ---------------------------------------------------------------------------------


def test_nothing_is_done_for_those_who_have_no_token_or_a_wrong_one(shop: Observed) -> None:
    life = first(shop, "tree")["tree"]["rows"]["shop/courier"]["life"]
    body = b'{"do": "kill", "agent": "shop/courier"}'
    answers = [
        shop.request("/orders", method="POST", body=body, headers=headers)
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Cookie": shop.link}, {"Authorization": "Basic eDp5"})
    ]
    answers.append(shop.request(f"/orders?token={shop.link.partition('=')[2]}", method="POST", body=body))

    assert {answer.status for answer in answers} == {401}
    assert first(shop, "tree")["tree"]["rows"]["shop/courier"]["life"] == life


@pytest.mark.parametrize("path", ["/", "/events", "/traces", "/orders", "/observer_page.js"])
def test_a_name_of_others_gets_nothing_wherever_it_asks(shop: Observed, path: str) -> None:
    answer = shop.request(path, headers={"Host": "evil.example", **shop.authorized})

    assert (answer.status, "shop" in answer.text) == (421, False)


def test_every_answer_forbids_what_comes_from_elsewhere(shop: Observed) -> None:
    for path in (*observer_app.ASSETS, "/traces", "/nothing", "/orders"):
        headers = shop.request(path).headers

        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy, path
        assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store"), path


def test_the_page_names_nothing_that_lies_elsewhere(shop: Observed) -> None:
    for path in observer_app.ASSETS:
        text = shop.request(path).text.replace("http://www.w3.org/2000/svg", "")

        assert "http://" not in text and "https://" not in text and "innerHTML" not in text, path


# ---- input that nobody should send ---------------------------------------------------------------


def test_an_order_that_is_too_long_is_refused(shop: Observed) -> None:
    body = b'{"do": "kill", "agent": "' + b"x" * 100_000 + b'"}'
    answer = shop.request("/orders", method="POST", body=body, headers=shop.authorized)

    assert (answer.status, "at most" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("query", ["shown=0", "shown=-1", "shown=9999999999999999999999", "shown=x", "shown=%C2%B2"])
def test_a_view_that_can_not_be_is_one_sentence(shop: Observed, query: str) -> None:
    answer = shop.request(f"/events?{query}")

    assert (answer.status, "give how many children" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("id", ["../../etc/passwd", "%00", "zz", "0" * 40])
def test_a_trace_that_is_not_there_is_not_found(shop: Observed, id: str) -> None:
    assert shop.request(f"/traces/{id}").status == 404


def test_no_more_pages_than_the_limit_look_at_once(shop: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    until_now(lambda: nobody_looks(shop), "the pages of other tests are gone")
    monkeypatch.setattr(observer_app, "PAGES_LIMIT", 1)

    with shop.frames() as frames:
        next(frames)
        refused = shop.request("/events")

    assert (refused.status, "close one" in refused.json["error"]) == (503, True)
    until_now(lambda: nobody_looks(shop), "its place is free again")


def test_pages_that_come_at_once_are_no_more_than_the_limit(shop: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    until_now(lambda: nobody_looks(shop), "the pages of other tests are gone")
    monkeypatch.setattr(observer_app, "PAGES_LIMIT", 4)
    ask = f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{shop.port}\r\n\r\n".encode()

    with ExitStack() as stack:
        pages = [stack.enter_context(socket.create_connection(("127.0.0.1", shop.port), 10)) for _ in range(40)]

        async def all_ask() -> None:  # in the loop of the server, which reads none of them before it has all
            for page in pages:
                page.sendall(ask)

        shop.do(all_ask)
        answers = [page.recv(12)[-3:] for page in pages]

    assert (answers.count(b"200"), answers.count(b"503")) == (4, 36)
    until_now(lambda: nobody_looks(shop), "their places are free again")


def test_a_page_that_shows_another_part_is_told_all_that_was_seen_with_the_first_word(shop: Observed) -> None:
    first(shop, "waits", "quarantine", "metrics")
    until_now(lambda: nobody_looks(shop), "nobody looks meanwhile")

    with shop.frames("find=scribe") as frames:
        told = next(frames)

    assert {"tree", "waits", "quarantine", "metrics"} <= told.keys()


def test_a_page_hears_something_also_while_nothing_changes(shop: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer_app, "HEARTBEAT_S", 0.05)
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)

    try:
        connection.request("GET", "/events?find=nobody")
        with connection.getresponse() as answer:
            lines = [answer.readline() for _ in range(10)]
    finally:
        connection.close()

    assert lines.count(observer_app.HEARTBEAT.splitlines(keepends=True)[0]) >= 2


def test_who_sends_no_request_is_cut_off(shop: Observed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer_server, "REQUEST_WITHIN_S", 0.1)

    with socket.create_connection(("127.0.0.1", shop.port), timeout=10) as silent:
        silent.sendall(b"GET / HTTP/1.1\r\nHost: 127")

        assert silent.recv(1) == b""


def test_a_flood_of_dead_letters_costs_a_page_little_and_the_app_nothing(shop: Observed) -> None:
    async def flood() -> None:
        nobody = shop.running.ref("shop/nobody")
        for _ in range(10_000):
            await nobody.tell(Note(text="x" * 100))

    before = first(shop, "letters")["letters"]["total"]
    size_bytes = 0
    with shop.frames() as frames:
        begun_s = time.monotonic()
        shop.do(flood)
        for told in frames:
            size_bytes += len(json.dumps(told))
            if told.get("letters", {}).get("total", 0) >= before + 10_000:
                break
        taken_s = time.monotonic() - begun_s
    answer = shop.do(lambda: shop.running.ref("shop/desk/analyst").ask(Say(text="Are you there?")))

    assert size_bytes / max(taken_s, 1.0) < 200_000
    assert answer is not None


def test_a_page_is_told_more_seldom_where_more_changes_than_may_be_sent(
    shop: Observed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observer_app, "RATE_BYTES_S", 20_000)

    begun_s = time.monotonic()  # ahead of the first word, which may come long before it is read here
    with shop.frames("opened=shop&opened=shop/readers&opened=shop/desk&shown=1000") as frames:
        size_bytes = len(json.dumps(next(frames)))
        next(frames)
        taken_s = time.monotonic() - begun_s

    assert size_bytes > 20_000
    assert taken_s > 0.9


def test_an_app_that_ends_is_told_to_those_who_look(tmp_path: Path) -> None:
    with observed(folder=tmp_path, tracing=False) as ending:
        with ending.frames() as frames:
            known = dict(next(frames))
            rows = known["tree"]["rows"]
            ending.do(ending.close_control)
            for told in frames:
                known |= told
                if known["app"]["state"] == "not running" and "note" in known.get("waits", {}):
                    break

    assert sorted(known["tree"]["gone"]) == sorted(rows)
    assert known["news"][-1]["what"] == "has ended"
    assert known["waits"] == {"note": "Shown again when shop runs."}  # and nothing that could be consented to
