"""Calls that a model writes, as they come from chat completions."""

from __future__ import annotations

from regrow.router.openai_tools import SaidCall, SaidFunction, calls_in


def said(id: str | None, name: str = "find", arguments: object = "") -> SaidCall:
    return SaidCall(id=id, function=SaidFunction(name=name, arguments=arguments))


def test_each_call_has_an_id_of_its_own_also_where_the_server_gives_one_twice_or_none() -> None:
    calls = calls_in([said("a"), said("a"), said(None), said("a_1"), said("call_2"), said("a")])

    ids = [each.id for each in calls]
    assert len(set(ids)) == 6
    assert (ids[0], ids[3], ids[4]) == ("a", "a_1", "call_2")


def test_characters_that_do_not_travel_are_written_out() -> None:
    [by_text, by_object] = calls_in([said("\ud83d", "a\ud83d", '"\ud83d"'), said("b", "b", {"a": "\ud83d"})])

    assert (by_text.id, by_text.name, by_text.arguments) == ("\\ud83d", "a\\ud83d", '"\\ud83d"')
    assert by_object.arguments == '{"a": "\\ud83d"}'
    assert by_text.size_bytes == 6 + 7 + 8
