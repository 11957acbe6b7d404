"""Which calls of an agent were begun together."""

from __future__ import annotations

from contextlib import ExitStack

from regrow.runtime.begun_together import BegunTogether


def test_calls_share_a_batch_where_each_began_before_the_first_ended() -> None:
    calls, first = BegunTogether(), ExitStack()

    one = first.enter_context(calls.begun("desk/a", "run", "1"))
    assert one.batch == ""
    with calls.begun("desk/a", "run", "2") as other:
        assert one.batch == other.batch == "1"

    with calls.begun("desk/a", "run", "3") as later:  # though the first is still under way
        assert later.batch == ""
        first.close()
        with calls.begun("desk/a", "run", "4") as joined:
            assert later.batch == joined.batch == "3"


def test_other_agents_and_runs_and_calls_one_by_one_share_none() -> None:
    calls = BegunTogether()

    with calls.begun("desk/a", "run", "1") as one, calls.begun("desk/b", "run", "2") as other:
        with calls.begun("desk/a", "another", "3") as third:
            assert (one.batch, other.batch, third.batch) == ("", "", "")
    with calls.begun("desk/a", "run", "4") as next_one:
        assert next_one.batch == ""


def test_a_call_that_is_refused_lets_no_other_join_it() -> None:
    calls = BegunTogether()

    try:
        with calls.begun("desk/a", "run", "1"):
            raise LookupError
    except LookupError:
        pass

    with calls.begun("desk/a", "run", "2") as other:
        assert other.batch == ""
