"""How runaways are made up that go round: agents that hand one thing round, and calls of tools in long turns.

Half of them were looked at while the guards were made, see `guard_lists`. This imports nothing of Regrow.
"""

from __future__ import annotations

from typing import Any

from guard_shapes import Writer


def counted_hops(w: Writer) -> int:
    """Two to four agents hand the same round, and count its way."""
    agents, name, text = w.rng.randint(2, 4), w.rng.choice(("hops", "step", "iteration", "depth")), w.words(6)
    for hop in range(w.rng.randint(28, 60)):
        w.turn(f"desk/{hop % agents}", {"text": text, name: hop + 1})
    return 0


def stamped_ping_pong(w: Writer) -> int:
    """Two agents say the same to each other, under new ids and with the time."""
    text = w.words(5)
    for hop in range(w.rng.randint(28, 60)):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": text, "message_ref": str(w.uuid()), "sent_at": w.stamp()})
    return 0


def what_do_you_mean(w: Writer) -> int:
    """One asks what the other one means, who asks what is to be said."""
    words = w.rng.choice((("Could you clarify?", "What should I clarify?"), ("Which file?", "The one you mean.")))
    for hop in range(w.rng.randint(28, 60)):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": words[hop % 2], "re": w.hex(12)}, type=("Question", "Reply")[hop % 2])
    return 0


def heard_at(w: Writer) -> int:
    """The same word goes to and fro, and each agent keeps when it came."""
    name = w.rng.choice(("last_seen", "updated", "now"))
    for hop in range(w.rng.randint(28, 60)):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": "and you?"}, state={"peer": "x", name: 1.78e9 + w.now_s})
    return 0


def planned_and_criticized(w: Writer) -> int:
    """A plan and what is wrong with it, under new ids, again and again."""
    for _ in range(w.rng.randint(15, 30)):
        w.turn("desk/planner", {"goal": "ship", "plan": str(w.uuid())}, type="Plan", state={"goals": ["ship"]})
        w.turn("desk/critic", {"verdict": "needs work", "plan": w.hex(16)}, type="Critique", state={"seen": w.stamp()})
    return 0


def nothing_yet(w: Writer) -> int:
    """A manager asks its workers, one after the other, and there is nothing yet."""
    workers = w.rng.randint(2, 4)
    for at in range(w.rng.randint(20, 40)):
        w.turn("desk/boss", {"text": "nothing yet"}, type="Report", state={"workers": workers})
        w.turn(f"desk/w{at % workers}", {"text": "status?"}, type="Ask")
    return 0


def pleasantries(w: Writer) -> int:
    """Two agents are polite, with a few phrases in no order."""
    phrases = ("Thank you!", "You are welcome!", "Glad to help.", "Have a nice day!")
    for hop in range(w.rng.randint(64, 90)):
        w.turn(f"desk/{'ab'[hop % 2]}", {"text": w.rng.choice(phrases)})
    return 0


def long_ring(w: Writer) -> int:
    """Five to seven calls take turns."""
    ring = [(f"tool_{w.words(1)}", {"target": "main"}, w.words()) for _ in range(w.rng.randint(5, 7))]
    w.calls(w.rng.randint(50, 84), lambda at: ring[at % len(ring)])
    return 0


def many_at_once(w: Writer) -> int:
    """The same call many times at once, round after round."""
    number, query = w.rng.randint(4, 14), w.words()
    for batch in range(w.rng.randint(10, 20)):
        for _ in range(number):
            w.call("web_search", {"q": query}, "no results", batch=f"b{batch}")
        w.wait(1.0, 4.5)
    return 0


def others_at_once(w: Writer) -> int:
    """The same few calls at once, in any order, round after round."""
    calls: list[tuple[str, Any, Any]] = [
        ("web_search", {"q": w.words()}, {"hits": []}) for _ in range(w.rng.randint(2, 7))
    ]
    for batch in range(w.rng.randint(10, 20)):
        for call in w.rng.sample(calls, len(calls)):
            w.call(*call, batch=f"b{batch}")
        w.wait(1.0, 4.5)
    return 0


def on_and_off(w: Writer) -> int:
    """A switch is put on, and off, and on."""
    w.calls(w.rng.randint(24, 50), lambda at: ("flag.set", {"name": "beta", "on": at % 2 == 0}, {"set": at % 2 == 0}))
    return 0


def two_who_search(w: Writer) -> int:
    """Two agents search for the same in turns."""
    query = w.words()
    for at in range(w.rng.randint(28, 50)):
        w.call("kb.search", {"q": query}, {"hits": [], "request": str(w.uuid())}, agent=f"desk/{'ab'[at % 2]}")
        w.wait(0.5, 4.0)
    return 0
