"""What is left out of a conversation that is too long: whole exchanges, the oldest first."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from regrow.router.context_window import ContextWindow, counted_rate, left_out
from regrow.router.conversation import LIMIT_MESSAGES, Role, Said, ToolCall, ToolResult
from regrow.router.request import Usage

Message = Said | ToolResult


def user(text: str) -> Said:
    return Said(role=Role.USER, text=text)


def exchange(number: int, results: int = 1, size: int = 40) -> list[Message]:
    calls = tuple(ToolCall(id=f"{number}.{at}", name="look") for at in range(results))
    given = [ToolResult(call_id=call.id, content="x" * size) for call in calls]
    return [Said(role=Role.ASSISTANT, tool_calls=calls), *given]


def window(limit: int, fixed_bytes: int = 0) -> ContextWindow:
    return ContextWindow(limit_tokens=limit, fixed_bytes=fixed_bytes)


def test_what_fits_stays_whole() -> None:
    messages = [user("q"), *exchange(1), *exchange(2)]

    assert left_out(messages, window(1_000)) == frozenset()
    assert left_out([], window(10)) == frozenset()


def test_the_oldest_exchanges_go_whole_and_the_first_question_and_the_newest_exchange_stay() -> None:
    rules = Said(role=Role.SYSTEM, text="Be brief.")
    messages = [rules, user("q"), *exchange(1, results=2), *exchange(2), *exchange(3)]

    assert left_out(messages, window(50)) == {2, 3, 4}
    assert left_out(messages, window(30)) == {2, 3, 4, 5, 6}


def test_the_last_question_stays_also_where_the_first_stands_before_all_messages() -> None:
    messages = [*exchange(1), user("and now?"), *exchange(2)]

    assert left_out(messages, window(20), has_prompt=True) == {0, 1}


def test_what_was_wrong_with_an_answer_is_no_question_and_goes_with_that_answer() -> None:
    bad = [Said(role=Role.ASSISTANT, text="x" * 40), Said(role=Role.USER, text="no D" * 10, mends=True)]
    messages = [user("q"), Said(role=Role.ASSISTANT, text="a" * 40), user("REFUND A"), *exchange(1), *bad]

    assert left_out(messages, window(35)) == {1, 3, 4}
    assert left_out([*messages, *exchange(2)], window(25)) == {1, 3, 4, 5, 6}


def test_what_does_not_fit_even_so_is_said() -> None:
    messages = [user("q" * 1_000), *exchange(1)]

    assert left_out(messages, window(100)) is None
    assert left_out([user("q")], window(100, fixed_bytes=1_000)) is None


def test_what_was_left_out_stays_out_and_some_room_is_made_at_once() -> None:
    messages: list[Message] = [user("q")]
    changes, out = 0, frozenset[int]()
    for number in range(100):
        messages += exchange(number)
        now = left_out(messages, window(200), out)
        assert now is not None
        assert out <= now
        changes += now != out
        out = now

    assert changes < 40, "the beginning of what is sent stays the same for some calls"


def test_more_messages_than_a_request_takes_are_left_out_however_small() -> None:
    messages: list[Message] = [
        user("q"),
        *(each for number in range(LIMIT_MESSAGES) for each in exchange(number, size=1)),
    ]

    out = left_out(messages, window(10**9))

    assert out is not None
    assert len(messages) - len(out) <= LIMIT_MESSAGES


def test_tokens_are_counted_as_the_provider_counted_them() -> None:
    counted, guessed = Usage(input_tokens=500, output_tokens=1), Usage(input_tokens=9, output_tokens=1, estimated=True)

    assert counted_rate(1_000, counted, 0.25) == 0.5
    assert counted_rate(1_000, guessed, 0.25) == 0.25
    assert counted_rate(100, counted, 0.25) == 1.0
    assert counted_rate(0, counted, 0.25) == 0.25


CONVERSATIONS = st.lists(
    st.one_of(
        st.builds(lambda text: [user(text)], st.text(max_size=50)),
        st.builds(lambda results, size: exchange(0, results, size), st.integers(0, 4), st.integers(0, 200)),
        st.builds(lambda text: [Said(role=Role.SYSTEM, text=text)], st.text(max_size=20)),
    ),
    max_size=12,
).map(lambda parts: [message for part in parts for message in part])


@given(messages=CONVERSATIONS, limit=st.integers(1, 400), has_prompt=st.booleans())
def test_a_call_and_its_result_are_never_apart_and_what_is_sent_fits(
    messages: list[Message], limit: int, has_prompt: bool
) -> None:
    out = left_out(messages, window(limit), has_prompt=has_prompt)
    if out is None:
        return

    sent = [each for at, each in enumerate(messages) if at not in out]
    assert sum(each.size_bytes for each in sent) / 4 <= limit
    for at, each in enumerate(messages):
        if isinstance(each, ToolResult) and at:
            assert (at in out) == (at - 1 in out), "a result goes with what stands before it"
        if isinstance(each, Said) and each.role is Role.SYSTEM:
            assert at not in out
    questions = [at for at, each in enumerate(messages) if isinstance(each, Said) and each.role is Role.USER]
    assert out.isdisjoint(questions[-1:])
    assert has_prompt or out.isdisjoint(questions[:1])
