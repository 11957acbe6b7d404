"""How runaways are made up that differ each time by what says nothing, as tools, clocks and clients really write it.

Half of them were looked at while the guards were made, see `guard_lists`. This imports nothing of Regrow.
"""

from __future__ import annotations

from guard_shapes import Writer


def _begun(w: Writer) -> int:
    w.work(w.rng.randint(0, 7))
    return len(w.events)


def tests_again(w: Writer) -> int:
    """The same tests fail again, after another time and in another folder."""
    begins, kind, failed, passed = _begun(w), w.rng.randint(0, 3), w.rng.randint(1, 9), w.rng.randint(3, 200)

    def said(took_s: float) -> object:
        return (
            f"FAILED test_cart.py::test_total - AssertionError\n{failed} failed, {passed} passed in {took_s:.2f}s",
            f"--- FAIL: TestCart ({took_s:.2f}s)\nFAIL\texample/cart\t{took_s + 0.1:.3f}s",
            f"Tests: {failed} failed, {passed} passed\nTime: {took_s:.3f} s, estimated {int(took_s) + 1} s",
            {
                "exit": 1,
                "stdout": f"assert 3 == 4 in /tmp/run-{w.rng.randint(10, 999)}/t",
                "took_ms": int(took_s * 1e3),
            },
        )[kind]

    w.calls(w.rng.randint(16, 45), lambda _: ("run_tests", {"path": "tests"}, said(w.rng.uniform(0.4, 9))))
    return begins


def edit_and_back(w: Writer) -> int:
    """An edit, the tests, the edit taken back, and so on."""
    begins, old, new = _begun(w), w.words(2), w.words(2)
    for at in range(w.rng.randint(8, 20)):
        w.then("edit", {"file": "app.py", "old": old, "new": new}, "ok")
        w.then("run_tests", {}, f"2 failed, 9 passed in {w.rng.uniform(1, 4):.2f}s")
        w.then("edit", {"file": "app.py", "old": new, "new": old}, "ok")
        if at % 2:
            old, new = new, old
    return begins


def search_number(w: Writer) -> int:
    """A search finds nothing, and gives its number and its time."""
    begins, query = _begun(w), w.words()
    w.calls(
        w.rng.randint(14, 45),
        lambda _: (
            "web_search",
            {"query": query},
            {"hits": [], "query_ref": w.hex(16), "took_ms": w.rng.randint(9, 400)},
        ),
    )
    return begins


def new_session(w: Writer) -> int:
    """The same question in a new session each time."""
    begins, query, name = _begun(w), w.words(), w.rng.choice(("sessionId", "conversation", "x_session", "ctx"))
    w.calls(w.rng.randint(14, 45), lambda _: ("kb.lookup", {"q": query, name: w.hex(16)}, {"answers": []}))
    return begins


def new_request(w: Writer) -> int:
    """A change is asked for with a new id and the time, and the same error comes with a new trace."""
    begins, number = _begun(w), w.rng.randint(100, 999)
    w.calls(
        w.rng.randint(14, 45),
        lambda _: (
            "crm.update",
            {"customer": number, "status": "active", "request_id": str(w.uuid()), "sent_at": w.stamp()},
            f"Error 503: upstream unavailable (trace {w.hex(32)})",
        ),
    )
    return begins


def counted_tries(w: Writer) -> int:
    """The same check, with the number of the try."""
    begins, name = _begun(w), w.rng.choice(("attempt", "try", "retry_no", "iteration", "step"))
    w.calls(
        w.rng.randint(14, 45),
        lambda at: ("deploy.check", {"service": "billing", name: at + 1}, {"ready": False, "reason": "image missing"}),
    )
    return begins


def guessed_code(w: Writer) -> int:
    """Code after code is tried, and each is refused alike."""
    begins = _begun(w)
    w.calls(
        w.rng.randint(24, 45),
        lambda _: (
            "login",
            {"user": "kim", "otp": f"{w.rng.randint(0, 999_999):06}"},
            {"status": 401, "error": "invalid credentials"},
        ),
    )
    return begins


def behind_the_end(w: Writer) -> int:
    """Page after page behind the last one."""
    begins, name = _begun(w), w.rng.choice(("page", "offset"))
    w.calls(
        w.rng.randint(45, 80),
        lambda at: ("list_orders", {name: 100 + at * 20, "limit": 20}, {"orders": [], "total": 61}),
        least_s=0.1,
        most_s=1.0,
    )
    return begins


def gone_page(w: Writer) -> int:
    """A page that is gone, with the headers of each answer."""
    begins, address = _begun(w), f"https://example.org/{w.words(1)}"
    w.calls(
        w.rng.randint(14, 45),
        lambda _: (
            "http_get",
            {"url": address},
            {"status": 404, "headers": {"date": w.stamp(), "x-ray": f"{w.hex(16)}-VIE"}, "body": "Not Found"},
        ),
    )
    return begins


def clocked_result(w: Writer) -> int:
    """Nothing is new but the time."""
    begins, kind = _begun(w), w.rng.randint(0, 2)

    def read() -> object:
        return (
            {"value": None, "ts": 1.78e9 + w.now_s},
            f"[{w.stamp()}] sensor offline",
            {"value": None, "server": {"now": w.stamp(), "uptime": w.now_s}},
        )[kind]

    w.calls(w.rng.randint(14, 45), lambda _: ("sensor.read", {"room": "b12"}, read()))
    return begins


def broken_install(w: Writer) -> int:
    """The same command fails, and names another log and process each time."""
    begins, command = _begun(w), w.rng.choice(("npm install", "make build"))
    w.calls(
        w.rng.randint(14, 45),
        lambda _: (
            "bash",
            {"cmd": command},
            {"code": 1, "stderr": f"ERR! see /tmp/logs/{w.stamp()}-debug-0.log", "pid": w.rng.randint(1_000, 60_000)},
        ),
    )
    return begins


def refused_payment(w: Writer) -> int:
    """The same payment under a new key each time, and refused."""
    begins = _begun(w)
    w.calls(
        w.rng.randint(14, 45),
        lambda _: (
            "pay",
            {"to": "AT61", "amount": 250, "idempotency_key": str(w.uuid())},
            {"ok": False, "error": "insufficient funds", "id": f"tx_{w.hex(20)}"},
        ),
    )
    return begins


def same_thought(w: Writer) -> int:
    """The same thought, of which nothing comes."""
    begins, thought = _begun(w), w.words(8)
    w.calls(w.rng.randint(24, 50), lambda _: ("think", {"thought": thought}, None))
    return begins


def stuck_click(w: Writer) -> int:
    """A click, and the same page after it."""
    begins, place = _begun(w), f"#{w.rng.choice(('next', 'pay', 'more'))}"
    for _ in range(w.rng.randint(15, 30)):
        w.then("click", {"selector": place}, "ok")
        w.then("screenshot", {}, {"title": "Cart", "hash": "77ab12", "taken": w.stamp()})
    return begins


def frozen_dashboard(w: Writer) -> int:
    """A dashboard is drawn anew again and again, and nothing on it changes."""
    begins = _begun(w)
    w.calls(
        w.rng.randint(20, 60),
        lambda _: (
            "dashboard.refresh",
            {"board": "ops"},
            {"cpu": 41, "errors": 0, "rendered_at": w.stamp(), "render_ms": w.rng.randint(10, 80)},
        ),
        most_s=2.0,
    )
    return begins


def written_and_linted(w: Writer) -> int:
    """The same file is written again, and has the same mistake."""
    begins, body = _begun(w), w.words(30)
    for _ in range(w.rng.randint(12, 25)):
        w.then("write_file", {"path": "a.ts", "content": body}, {"bytes": len(body), "mtime": w.now_s})
        w.calls(
            1, lambda _: ("lint", {"path": "a.ts"}, f"1:1 error Missing ;\n1 problem ({w.rng.randint(99, 900)} ms)")
        )
    return begins
