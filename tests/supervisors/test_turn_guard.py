"""Whether a turn comes from too far, or from a circle of agents that changes nothing (decision 0039)."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest

from regrow.runtime.guard_errors import CausalLoop, HopsUsedUp
from regrow.runtime.guards import Finding, Guards, Rung
from regrow.runtime.message import Message
from regrow.supervisors.turn_guard import GROWN_STEPS, LOOSE_STEPS, MAX_STEPS, judged, step_of

GUARDS = Guards()


class Work(Message):
    text: str = ""
    request_id: str = ""


class Handed(Message):
    text: str
    reference: str = ""
    hops: int = 0


class Item(Message):
    item: str


class Fetch(Message):
    start_time: datetime
    end_time: datetime


class Do(Message):
    correlation_id: str


Walk = list[tuple[str, Message, object]]


def walked(*turns: tuple[str, Message, object], guards: Guards = GUARDS) -> list[Finding | None]:
    """What is said of each of these turns, which follow from one another."""
    steps: tuple[int, ...] = ()
    said: list[Finding | None] = []
    for hops, (actor, message, state) in enumerate(turns, start=2):
        steps = (*steps[1 - MAX_STEPS :], step_of(actor, type(message).__name__, message, state))
        said.append(judged(actor, "Work", hops, steps, guards))
    return said


def rungs(findings: list[Finding | None]) -> list[Rung | None]:
    return [finding.rung if finding is not None else None for finding in findings]


@pytest.mark.parametrize("agents", [2, 3, 4, 21])
def test_a_circle_is_refused_where_the_first_agent_has_the_same_for_the_third_time(agents: int) -> None:
    circle: Walk = [(f"desk/{number}", Work(), {}) for number in range(agents)]

    said = walked(*circle * 3)

    first = next(at for at, finding in enumerate(said) if finding is not None and finding.rung is Rung.REFUSE)
    assert first == 2 * agents
    finding = said[first]
    assert finding is not None and finding.error is CausalLoop
    assert finding.evidence == {"rounds": 3, "agents": agents, "intent": "Work", "hops": first + 2}


def test_what_differs_by_named_noise_is_refused_after_more_rounds_and_goes_on_before() -> None:
    circle: Walk = [(f"desk/{number % 2}", Work(request_id=str(number)), {}) for number in range(40)]

    assert rungs(walked(*circle)).index(Rung.REFUSE) == 3 * LOOSE_STEPS - 2


@pytest.mark.parametrize("by", ["time", "correlation_id"])
def test_what_is_asked_for_by_a_time_or_an_id_alone_is_work(by: str) -> None:
    first, hour = datetime(2026, 11, 28, 10, 0, 7, tzinfo=UTC), timedelta(hours=1)
    turns: Walk = []
    for number in range(40):
        begins = first + number * hour
        asked = (
            Fetch(start_time=begins, end_time=begins + hour) if by == "time" else Do(correlation_id=f"order-{number}")
        )
        turns += [("desk/a", asked, {}), ("desk/b", Work(text="done"), {})]

    assert rungs(walked(*turns)) == [None] * 80


@pytest.mark.parametrize("what", ["message", "answer", "state"])
def test_any_change_in_the_round_is_progress(what: str) -> None:
    turns: Walk = []
    for number in range(40):
        new = str(number)
        turns.append(("desk/a", Work(text=new if what == "message" else ""), {}))
        turns.append(("desk/b", Work(text=new if what == "answer" else ""), {"done": new if what == "state" else ""}))

    assert rungs(walked(*turns)) == [None] * 80


@pytest.mark.parametrize("agents", [2, 3, 4])
@pytest.mark.parametrize("noise", ["reference", "hops", "clock"])
def test_a_circle_that_differs_by_what_looks_like_noise_is_refused_after_more_rounds(agents: int, noise: str) -> None:
    turns: Walk = []
    for number in range(60):
        handed = Handed(
            text="you take it",
            reference=f"{random.Random(number).getrandbits(80):020x}" if noise == "reference" else "",
            hops=number if noise == "hops" else 0,
        )
        state = {"heard": 1_780_000_001.5 + number} if noise == "clock" else {}
        turns.append((f"desk/{number % agents}", handed, state))

    refused = rungs(walked(*turns)).index(Rung.REFUSE)

    assert 3 * LOOSE_STEPS - agents <= refused < 3 * LOOSE_STEPS + agents


@pytest.mark.parametrize("agents", [2, 3, 4])
def test_a_circle_whose_agents_keep_what_was_said_is_refused_once_that_is_the_same_for_long(agents: int) -> None:
    turns: Walk = []
    for number in range(MAX_STEPS):
        said = [{"role": "user", "text": "Thank you!"}, {"role": "agent", "text": "You are welcome."}]
        state = {"mood": "fine", "history": said * (number // agents)}
        turns.append((f"desk/{number % agents}", Work(text="Thank you!"), state))

    refused = rungs(walked(*turns)).index(Rung.REFUSE)

    assert 3 * GROWN_STEPS - agents <= refused < MAX_STEPS


@pytest.mark.parametrize("kept", ["long texts", "stamps", "one text"])
def test_a_history_is_known_for_one_however_it_is_kept(kept: str) -> None:
    said = [
        "Thank you so much, that was really most helpful! " * 6,
        "You are most welcome, and come again at any time. " * 6,
    ]
    begun = datetime(2026, 11, 28, 10, 0, 7, 250, tzinfo=UTC)
    turns: Walk = []
    for number in range(MAX_STEPS):
        stamps = [
            {
                "at": begun + timedelta(seconds=at),
                "id": f"{random.Random(at).getrandbits(80):020x}",
                "text": said[at % 2],
            }
            for at in range(number // 2 * 2)
        ]
        histories: dict[str, object] = {
            "long texts": said * (number // 2),
            "stamps": stamps,
            "one text": "user: Thank you!\nagent: You are welcome.\n" * (number // 2),
        }
        state = {"history": histories[kept]} if number % 2 else {}  # the other one keeps nothing
        turns.append((f"desk/{number % 2}", Work(text="Thank you!"), state))

    assert Rung.REFUSE in rungs(walked(*turns))


@pytest.mark.parametrize("cut_at", [5, 20])
def test_a_history_that_is_cut_short_at_times_is_one(cut_at: int) -> None:
    turns: Walk = []
    for number in range(MAX_STEPS):
        kept = ["Thank you!"] * (1 + number // 2 % cut_at)
        turns.append((f"desk/{number % 2}", Work(text="Thank you!"), {"history": kept}))

    assert Rung.REFUSE in rungs(walked(*turns))


@pytest.mark.parametrize("what", ["equal jobs", "what is done", "a board", "an order", "jobs that go elsewhere"])
def test_lists_that_get_shorter_or_are_changed_in_place_are_work_however_equal_their_things(what: str) -> None:
    turns: Walk = []
    for number in range(100):
        states: dict[str, object] = {
            "equal jobs": {"jobs": ["send"] * (100 - number)},
            "what is done": {"done": [True] * number + [False] * (100 - number)},
            "a board": {"rows": [["x" if 10 * row + at < number else "." for at in range(10)] for row in range(10)]},
            "an order": {"order": ["low"] * number + ["high"] + ["low"] * (100 - number)},
            "jobs that go elsewhere": {"open": ["send"] * (100 - number), "sent": ["send"] * number},
        }
        # Beside one that keeps a record of its work.
        turns += [
            ("desk/a", Work(text="next"), states[what]),
            ("desk/b", Work(text="done"), {"log": ["sent"] * number}),
        ]

    assert rungs(walked(*turns)) == [None] * 200


@pytest.mark.parametrize("what", ["words", "sums", "a number", "pages", "jobs of others"])
def test_what_becomes_more_or_other_in_a_state_is_work_however_long_it_takes(what: str) -> None:
    turns: Walk = []
    for number in range(100):
        states: dict[str, object] = {
            "words": {"found": [f"shop {'abcdefghij'[at // 10]}{'klmnopqrst'[at % 10]}" for at in range(number)]},
            "sums": {"sums": list(range(number))},
            "a number": {"balance": number, "list": ["paid"]},
            "pages": {"pages": [f"page {at}" for at in range(number, 100)]},
            "jobs of others": {"jobs": [Fraction(1, 3)] * (100 - number)},  # of which only the class is looked at
        }
        turns += [("desk/a", Work(text="next"), states[what]), ("desk/b", Work(text="done"), {"of": ["paid"] * 3})]

    assert rungs(walked(*turns)) == [None] * 200


def test_things_that_are_handed_over_one_by_one_are_work_also_by_uuid() -> None:
    turns: Walk = []
    for number in range(40):
        item = f"{random.Random(number).getrandbits(80):020x}"
        turns += [("desk/a", Item(item=item), {}), ("desk/b", Work(text="done"), {})]

    assert rungs(walked(*turns)) == [None] * 80


def test_the_same_phrases_in_no_order_are_refused_once_no_new_one_has_come_for_long() -> None:
    rng = random.Random(7)
    phrases = ["Thank you!", "You are welcome!", "Glad to help."]
    turns: Walk = [(f"desk/{number % 2}", Work(text=rng.choice(phrases)), {}) for number in range(64)]
    renewed = [
        (agent, Work(text=f"one more {'abcdefghij'[at // 10]}") if at % 10 == 0 else message, state)
        for at, (agent, message, state) in enumerate(turns)
    ]

    assert rungs(walked(*turns)).index(Rung.REFUSE) >= 3 * LOOSE_STEPS
    assert rungs(walked(*renewed)) == [None] * 64


def test_a_loop_is_found_behind_any_way_to_it() -> None:
    way: Walk = [("desk/x", Work(text=str(number)), {}) for number in range(100)]

    said = walked(*way, *[("desk/a", Work(), {}), ("desk/b", Work(), {})] * 3)

    assert rungs(said)[:100] == [None] * 100
    assert rungs(said)[-1] is Rung.REFUSE


def test_a_message_may_come_over_so_many_agents_and_no_more() -> None:
    way: Walk = [(f"desk/{number}", Work(), {}) for number in range(5)]

    said = walked(*way, guards=Guards(hop_limit=4))

    assert [finding.error if finding is not None else None for finding in said] == [
        None,
        None,
        None,
        HopsUsedUp,
        HopsUsedUp,
    ]
    assert said[3] is not None and said[3].evidence == {"hops": 5, "hop_limit": 4}


def test_guards_that_are_off_say_nothing() -> None:
    circle: Walk = [("desk/a", Work(), {})] * 100

    assert rungs(walked(*circle, guards=Guards(hop_limit=None, loop_rounds=None))) == [None] * 100
