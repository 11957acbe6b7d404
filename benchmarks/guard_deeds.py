"""How work is made up that looks like a runaway since it is one deed after the other: sweeps, clicks, polls, dice.

Half of it was looked at while the guards were made, see `guard_lists`. This imports nothing of Regrow.
"""

from __future__ import annotations

from guard_shapes import Writer


def tested_edits(w: Writer) -> int:
    """Edits, and after each the tests, which fail with the same words until the last one."""
    for _ in range(w.rng.randint(8, 16)):
        w.then("edit", {"file": "app.py", "new": w.words(6)}, "ok")
        w.then("run_tests", {}, f"1 failed, 40 passed in {w.rng.uniform(1, 4):.2f}s")
    w.then("run_tests", {}, "41 passed in 2.20s")
    return 0


def scrolled(w: Writer) -> int:
    """A page is scrolled down to its end, and read there."""
    w.calls(w.rng.randint(6, 12), lambda _: ("scroll", {"direction": "down"}, "ok"))
    w.then("read_view", {}, w.words(9))
    return 0


def pressed(w: Writer) -> int:
    """A key is pressed again and again, then another one."""
    key, said = w.rng.choice(("Tab", "ArrowDown", "PageDown")), w.rng.choice((None, "pressed", True, "", {"ok": True}))
    w.calls(w.rng.randint(5, 12), lambda _: ("press_key", {"key": key}, said), least_s=0.1, most_s=0.4)
    w.then("press_key", {"key": "Enter"}, said)
    return 0


def next_page(w: Writer) -> int:
    """The same click, and another page after each."""
    for _ in range(w.rng.randint(10, 30)):
        w.then("click", {"selector": "a.next"}, "clicked")
        w.then("extract", {"what": "rows"}, [w.words(2) for _ in range(4)])
    return 0


def undone(w: Writer) -> int:
    """A few steps are taken back."""
    w.work(w.rng.randint(0, 5))
    w.calls(w.rng.randint(5, 10), lambda _: ("undo", {}, "undone"))
    w.then("save", {}, "saved")
    return 0


def capped_backoff(w: Writer) -> int:
    """A status is asked for with waits that double up to some bound."""
    wait_s, most_s = w.rng.uniform(0.5, 2), w.rng.uniform(8, 30)
    for _ in range(w.rng.randint(10, 18)):
        w.call("job_status", {"job": "j7"}, {"state": "PENDING"})
        w.wait(wait_s, wait_s)
        wait_s = min(most_s, wait_s * 2)
    return 0


def awaited_build(w: Writer) -> int:
    """A build is looked after every ten seconds and more."""
    wait_s = w.rng.uniform(10, 29)
    w.calls(
        w.rng.randint(8, 25),
        lambda _: ("build_status", {"build": "b-19"}, {"state": "running"}),
        least_s=wait_s,
        most_s=wait_s * 1.05,
    )
    w.then("build_status", {"build": "b-19"}, {"state": "green"})
    return 0


def sweep(w: Writer) -> int:
    """A parameter is tried out, whose name is that of a counter elsewhere."""
    name = w.rng.choice(("retries", "attempt", "seed", "depth", "level", "page_size", "iteration", "timeout"))
    w.calls(w.rng.randint(8, 24), lambda at: ("bench", {"model": "m1", name: at}, {"score": round(w.rng.random(), 4)}))
    return 0


def rarely_better(w: Writer) -> int:
    """The same, and mostly the best is the one of before."""
    name, best = w.rng.choice(("retries", "attempt", "seed", "depth", "max_steps")), 0.5
    for at in range(w.rng.randint(8, 20)):
        best += 0.01 * (w.rng.random() < 0.3)
        w.then("train", {"lr": 0.1, name: at}, {"best": round(best, 2)})
    return 0


def set_options(w: Writer) -> int:
    """A setting is set to one value after the other."""
    name, said = (
        w.rng.choice(("retries", "attempt", "depth", "level", "version")),
        w.rng.choice(("ok", "done", "saved")),
    )
    w.calls(w.rng.randint(7, 20), lambda at: ("set_option", {"service": "api", name: at}, said))
    return 0


def deleted_at_once(w: Writer) -> int:
    """Many rows are deleted at once, batch after batch."""
    for batch in range(w.rng.randint(3, 8)):
        for _ in range(w.rng.randint(5, 20)):
            w.call("delete_row", {"id": str(w.uuid()), "force": True}, "deleted", batch=f"b{batch}")
        w.wait(1.0, 4.0)
    return 0


def deleted_users(w: Writer) -> int:
    """One user after the other is deleted, by uuid and with an option."""
    said = w.rng.choice(("ok", "deleted", {"deleted": True}, None, 204))
    w.calls(
        w.rng.randint(20, 60), lambda _: ("delete_user", {"uuid": str(w.uuid()), "notify": False}, said), most_s=0.8
    )
    return 0


def approved_orders(w: Writer) -> int:
    """One order after the other is approved, by the id of its request and with the decision."""
    w.calls(
        w.rng.randint(10, 30),
        lambda at: ("approve", {"request_id": f"PO-{1000 + at}", "decision": "yes"}, {"status": "approved"}),
    )
    return 0


def free_names(w: Writer) -> int:
    """Name after name is looked for, and none is there."""
    w.calls(w.rng.randint(10, 28), lambda _: ("check_name", {"name": w.words(2)}, "not found"), most_s=1.0)
    return 0


def dice(w: Writer) -> int:
    """Dice are rolled."""
    sides = w.rng.choice((4, 6, 20))
    w.calls(w.rng.randint(10, 25), lambda _: ("roll", {"sides": sides}, w.rng.randint(1, sides)))
    return 0


def slept(w: Writer) -> int:
    """A call that sleeps, and a look at the mail after it."""
    for_s = w.rng.randint(10, 60)
    for _ in range(w.rng.randint(6, 15)):
        w.then("sleep", {"seconds": for_s}, None, took_s=for_s)
        w.then("check_mail", {}, [])
    return 0


def live_dashboard(w: Writer) -> int:
    """A dashboard is drawn anew, and its figures differ."""
    w.calls(
        w.rng.randint(16, 45),
        lambda _: (
            "dashboard.refresh",
            {"board": "ops"},
            {"cpu": w.rng.randint(5, 95), "errors": w.rng.randint(0, 3), "rendered_at": w.stamp()},
        ),
    )
    return 0


def frames(w: Writer) -> int:
    """Frame after frame of a film, and in most of them nothing moves."""
    step_s = w.rng.choice((0.5, 1, 2.5))
    w.calls(
        w.rng.randint(10, 30),
        lambda at: (
            "frame_at",
            {"video": "v1", "timestamp": round(12 + at * step_s, 2)},
            w.rng.choice(("no motion", "no motion", "no motion", "a car")),
        ),
        most_s=1.0,
    )
    return 0


def bisected(w: Writer) -> int:
    """A limit is found by halves."""
    low, high = 0, 2 ** w.rng.randint(8, 16)
    limit = w.rng.randint(low, high)
    while high - low > 1:
        middle = (low + high) // 2
        w.call("try_limit", {"limit": middle}, "too high" if middle > limit else "works")
        w.wait(0.5, 3.0)
        low, high = (low, middle) if middle > limit else (middle, high)
    return 0


def numbered_tickets(w: Writer) -> int:
    """A boss hands out tickets by number, and each is done."""
    first = w.rng.randint(10**6, 10**8)
    for at in range(w.rng.randint(12, 30)):
        w.turn("desk/boss", {"text": f"handle ticket {first + at}"}, type="Do")
        w.turn("desk/worker", {"text": "done"}, type="Done")
    return 0


def committed(w: Writer) -> int:
    """Transactions in two phases, one after the other."""
    for at in range(w.rng.randint(8, 20)):
        for agent, type in (("coord", "Prepare"), ("part", "Vote"), ("coord", "Commit"), ("part", "Ack")):
            w.turn(f"db/{agent}", {"tx": f"tx-{at}"}, type=type)
    return 0


def go_on(w: Writer) -> int:
    """A writer is told to go on, and does."""
    for chapters in range(1, w.rng.randint(11, 31)):
        w.turn("desk/reader", {"text": w.words(9)}, type="Chapter")
        w.turn("desk/writer", {"text": w.rng.choice(("continue", "yes", "go on"))}, state={"chapters": chapters})
    return 0


def played(w: Writer) -> int:
    """A game of chess, of which the agents keep the moves."""
    moves: list[str] = []
    for at in range(w.rng.randint(20, 50)):
        moves.append(w.hex(2))
        w.turn(f"game/{'wb'[at % 2]}", {"text": "your move"}, state={"moves": list(moves)})
    return 0


def read_first(w: Writer) -> int:
    """Before each chapter the rules are read."""
    for at in range(w.rng.randint(10, 25)):
        w.then("read_file", {"path": "STYLE.md"}, "Be kind.")
        w.then("write_file", {"path": f"ch{at}.md", "content": w.words(9)}, "ok")
    return 0
