"""How runs of work are made up that no guard may stop, however like a loop they look. It imports nothing of Regrow."""

from __future__ import annotations

import datetime

from guard_shapes import Writer


def pages(w: Writer) -> int:
    """Page after page, by cursor, number or offset; the last ones may be empty."""
    number, by = w.rng.randint(5, 40), w.rng.choice(("cursor", "page", "offset"))
    for page in range(number):
        value = f"{w.rng.getrandbits(40):x}" if by == "cursor" else page * (1 if by == "page" else 50)
        w.call("list", {"folder": "in", by: value}, {"items": [w.words()]} if page < number - 6 else {"items": []})
        w.wait(0.05, 1.0)
    return 0


def changing_poll(w: Writer) -> int:
    """A status that changes now and then is asked for every few seconds."""
    done = 0
    for _ in range(w.rng.randint(5, 40)):
        done += w.rng.choice((1, 2, 5))
        w.call("status", {"job": "j"}, {"status": "running", "progress": done, "checked_at": w.stamp()})
        w.wait(1.0, 6.0)
    return 0


def patient_poll(w: Writer) -> int:
    """A status that stays the same is asked for with growing waits."""
    wait_s, growth = w.rng.uniform(0.5, 3.0), w.rng.uniform(1.5, 2.5)
    for _ in range(w.rng.randint(5, 14)):
        w.call("status", {"job": "j"}, {"status": "running"})
        w.wait(wait_s, wait_s * 1.05)
        wait_s = min(wait_s * growth, 300.0)
    w.call("status", {"job": "j"}, {"status": "done"})
    return 0


def retried(w: Writer) -> int:
    """A call fails once to three times and succeeds then; so do others."""
    for _ in range(w.rng.randint(3, 8)):
        arguments, wait_s = {"url": w.words()}, 0.5
        for _ in range(w.rng.randint(1, 3)):
            w.call("fetch", arguments, "ToolTimedOut: no answer")
            w.wait(wait_s, wait_s * 1.2)
            wait_s *= 2
        w.call("fetch", arguments, w.words(12))
    return 0


def mapped(w: Writer) -> int:
    """The same is done to each of many things, which are known by uuid or number, with the same outcome."""
    outcome, by_uuid = w.rng.choice(({"status": "ok"}, "deleted", None)), w.rng.random() < 0.6
    for number in range(w.rng.randint(20, 60)):
        w.call("delete", {"id": str(w.uuid()) if by_uuid else number, **w.noise()}, outcome)
        w.wait(0.0, 0.3)
    return 0


def dialogue(w: Writer) -> int:
    """Two agents come on, message by message."""
    for hop in range(w.rng.randint(10, 80)):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": w.words(8), "topic": "plan"})
    return 0


def edits(w: Writer) -> int:
    """Edits, and between them the tests, which fail with the same words for a while."""
    for number in range(w.rng.randint(4, 15)):
        w.call("edit", {"file": "a.py", "line": w.rng.randint(1, 400), "text": w.words()}, "ok")
        w.call("run_tests", {}, "1 failed, 20 passed" if number % 7 else f"{number} failed")
        w.wait(1.0, 9.0)
    return 0


def pulled(w: Writer) -> int:
    """A worker pulls job after job; its messages are all the same, and the queue of the other one grows shorter."""
    left = w.rng.randint(10, 60)
    while left:
        w.turn("desk/boss", {"ready": True}, type="Ready", state={"left": left})
        left -= 1
        w.turn("desk/worker", {"job": w.rng.choice(("scan", f"scan {left}"))}, type="Job")
    return 0


def fan_out(w: Writer) -> int:
    """The same request goes to many agents, and each of them makes the same call once."""
    root, task = w.turn("desk/boss", {"text": w.words()}), {"task": w.words()}
    for number in range(w.rng.randint(5, 40)):
        w.turn(f"desk/{number}", task, cause=root)
        w.call("search", task, "nothing", agent=f"desk/{number}")
    return 0


def slow_poll(w: Writer) -> int:
    """A look every half minute to every ten minutes, for hours."""
    wait_s = w.rng.uniform(31.0, 600.0)
    for _ in range(w.rng.randint(6, 40)):
        w.call("inbox", {"folder": "new"}, {"items": []})
        w.wait(wait_s, wait_s * 1.1)
    return 0


def ensemble(w: Writer) -> int:
    """The same question is asked many times at once, and the votes are counted."""
    question = {"question": w.words()}
    for batch in range(w.rng.randint(1, 3)):
        for _ in range(w.rng.randint(5, 12)):
            w.call(
                "sample", question, w.rng.choice(("yes", "yes", "no")), took_s=w.rng.uniform(0.5, 2), batch=f"b{batch}"
            )
        w.wait(2.0, 4.0)
        w.work(2)
        question = {"question": w.words()}
    return 0


def reread(w: Writer) -> int:
    """One file is read again and again in a long session, between other things."""
    for _ in range(w.rng.randint(6, 14)):
        w.call("read", {"path": "plan.md"}, "the plan")
        w.work(w.rng.randint(1, 4))
    return 0


def saved(w: Writer) -> int:
    """Drafts are saved under one name, each another text, with the same outcome."""
    for _ in range(w.rng.randint(8, 30)):
        w.call("save", {"name": "draft", "text": w.words(20)}, {"saved": True})
        w.wait(0.5, 5.0)
    return 0


def haggled(w: Writer) -> int:
    """Two agents haggle: all their messages are alike but for a price."""
    low, high = 10, 10 + 2 * w.rng.randint(8, 40)
    while low < high:
        w.turn("desk/buyer", {"offer": low, "item": "lamp"}, type="Offer")
        w.turn("desk/seller", {"asks": high, "item": "lamp"}, type="Counter")
        low, high = low + 1, high - 1
    return 0


def booked(w: Writer) -> int:
    """Hour after hour is tried, and each one is taken."""
    day = datetime.datetime(2026, 5, w.rng.randint(1, 28), 8, tzinfo=datetime.UTC)
    for hour in range(w.rng.randint(5, 20)):
        slot = (day + datetime.timedelta(minutes=30 * hour)).isoformat()
        w.call("book", {"at": slot, "room": 4, **w.noise()}, "taken")
        w.wait(0.1, 1.0)
    return 0


def counted(w: Writer) -> int:
    """The same word goes to and fro, and an agent counts with each."""
    for number in range(w.rng.randint(10, 60)):
        w.turn("desk/counter", {"word": "next"}, state={"count": number})
        w.turn("desk/caller", {"word": "more"})
    return 0


def ticks(w: Writer) -> int:
    """A timer has the same done each minute, by two agents."""
    for _ in range(w.rng.randint(10, 60)):
        cause = w.turn("desk/clock", {"tick": True}, cause=None)
        w.turn("desk/sweeper", {"sweep": True}, cause=cause)
        w.call("sweep", {}, "nothing to do", agent="desk/sweeper")
        w.wait(55.0, 65.0)
    return 0


def approved(w: Writer) -> int:
    """One request after the other is approved by its id, with the same outcome."""
    for _ in range(w.rng.randint(10, 50)):
        w.call("approve", {"request_id": str(w.uuid())}, "approved")
        w.wait(0.1, 2.0)
    return 0


# ---- work that looks like a runaway ---------------------------------------------------------------


def approved_alike(w: Writer) -> int:
    """The same, where each call has one more argument, which is always the same."""
    for _ in range(w.rng.randint(10, 50)):
        w.call("decide", {"request_id": str(w.uuid()), "decision": "yes"}, "approved")
        w.wait(0.1, 2.0)
    return 0


def steady_poll(w: Writer) -> int:
    """A status that stays the same for a minute or two is asked for every few seconds."""
    for _ in range(w.rng.randint(8, 20)):
        w.call("status", {"job": "j"}, {"status": "running"})
        w.wait(5.0, 5.5)
    w.call("status", {"job": "j"}, {"status": "done"})
    return 0
