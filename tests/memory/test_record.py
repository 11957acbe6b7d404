"""Scopes, ids and records: what is accepted, and what an id promises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from regrow.memory.errors import InvalidMemory, InvalidQuery, InvalidScope, OutOfScope
from regrow.memory.record import (
    LIMIT_ATTRIBUTES,
    LIMIT_K,
    LIMIT_QUERY_CHARS,
    LIMIT_SCOPE_SEGMENTS,
    LIMIT_TEXT_CHARS,
    Hit,
    Hits,
    MemoryRecord,
    Query,
    RecordId,
    Scope,
    parsed_id,
    record_id,
)

segments = st.text("ab-.1", min_size=1, max_size=3).filter(lambda text: text[0].isalnum())
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)


@pytest.mark.slow
@given(paths, paths)
def test_a_scope_covers_exactly_what_begins_with_its_segments(upper: str, lower: str) -> None:
    upper_segments, lower_segments = upper.split("/"), lower.split("/")
    below = lower_segments[: len(upper_segments)] == upper_segments

    assert Scope.of(upper).covers(Scope.of(lower)) == below


@pytest.mark.slow
@given(paths)
def test_the_root_covers_everything_and_is_covered_by_itself_only(path: str) -> None:
    assert Scope().covers(Scope.of(path))
    assert not Scope.of(path).covers(Scope())


@pytest.mark.slow
@given(paths, paths)
def test_the_lineage_names_exactly_the_scopes_that_cover_it(path: str, other: str) -> None:
    scope = Scope.of(path)

    assert (other in scope.lineage) == Scope.of(other).covers(scope)


def test_a_prefix_of_a_name_is_another_scope() -> None:
    assert not Scope.of("acme").covers(Scope.of("acme-corp"))


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "a/", "/a", "a//b", "a b", "../a", ".", "a#b", "a{b}", "ä", "a\n", "x" * 65),
        "/".join("a" * (LIMIT_SCOPE_SEGMENTS + 1)),
    ],
)
def test_a_scope_that_is_written_wrongly_is_refused(path: str) -> None:
    with pytest.raises(InvalidScope):
        Scope.of(path)


def test_a_scope_from_the_wire_is_checked_too() -> None:
    with pytest.raises(ValidationError, match="segment"):
        Scope(path="a/../b")


def test_scopes_are_built_downwards() -> None:
    assert Scope() / "acme" / "desk" == Scope.of("acme/desk")
    assert str(Scope()) == "(all)"


def test_check_covers_names_both_scopes() -> None:
    with pytest.raises(OutOfScope, match="'other' is not at or below 'acme'") as refusal:
        Scope.of("acme").check_covers(Scope.of("other"))

    assert (refusal.value.wanted, refusal.value.reach) == ("other", "acme")


def test_the_same_content_has_the_same_id_everywhere() -> None:
    record = MemoryRecord.of("Ray starts actors.", scope="acme/desk", source="a.md")

    assert record.id == "acme/desk#a8c4ba101ce150d3eff3c12101be0efa"


@pytest.mark.slow
@given(
    st.tuples(paths, st.text(max_size=3), st.text(max_size=3)),
    st.tuples(paths, st.text(max_size=3), st.text(max_size=3)),
)
def test_ids_are_equal_only_for_equal_scope_source_and_text(
    one: tuple[str, str, str], two: tuple[str, str, str]
) -> None:
    ids = [record_id(text, scope=Scope.of(path), source=source) for path, source, text in (one, two)]

    assert (ids[0] == ids[1]) == (one == two)


def test_an_id_tells_its_scope() -> None:
    record = MemoryRecord.of("x", scope="acme/desk")

    assert parsed_id(record.id)[0] == Scope.of("acme/desk")


def test_nobody_can_store_a_text_under_the_id_of_another() -> None:
    good = MemoryRecord.of("good", scope="acme")

    with pytest.raises(ValidationError, match="is not the one of this text"):
        MemoryRecord(id=good.id, text="evil", scope=good.scope)
    with pytest.raises(ValidationError, match="is not the one of this text"):
        MemoryRecord(id=good.id, text="good", scope=Scope.of("other"))


def test_a_record_survives_the_wire() -> None:
    record = MemoryRecord.of("x", scope="a", attributes={"page": 3, "draft": True, "title": "3", "share": 1.0})

    back = MemoryRecord.model_validate(record.model_dump())

    assert back == record
    assert [type(value) for _, value in back.attributes] == [bool, int, float, str]


@pytest.mark.parametrize(
    "fields",
    [
        {"text": ""},
        {"text": " \n\t"},
        {"text": "x" * (LIMIT_TEXT_CHARS + 1)},
        {"text": "lone \ud800 surrogate"},
        {"text": 7},
        {"source": "\udc80.md"},
        {"source": "x" * 2_001},
        {"kind": "two words"},
        {"created_at_s": float("nan")},
        {"attributes": {"a": None}},
        {"attributes": {1: "a"}},
        {"attributes": {"a": "\ud800"}},
        {"attributes": {str(n): n for n in range(LIMIT_ATTRIBUTES + 1)}},
    ],
    ids=repr,
)
def test_what_can_not_be_remembered_is_refused_with_a_reason(fields: dict[str, object]) -> None:
    with pytest.raises(InvalidMemory) as refusal:
        MemoryRecord.of(**{"text": "fine", "scope": "a", **fields})  # type: ignore[arg-type]

    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize("k", [0, -1, LIMIT_K + 1])
def test_k_has_limits(k: int) -> None:
    with pytest.raises(InvalidQuery, match="k is"):
        Query.of("x", k=k, scope=Scope())
    with pytest.raises(ValidationError, match="k is"):
        Query(text="x", k=k)


def test_a_query_that_is_too_long_or_no_text_is_refused() -> None:
    with pytest.raises(InvalidQuery, match="characters"):
        Query.of("x" * (LIMIT_QUERY_CHARS + 1), k=1, scope=Scope())
    with pytest.raises(InvalidQuery, match="surrogates"):
        Query.of("\ud800", k=1, scope=Scope())


def hit(text: str, source: str) -> Hit:
    return Hit(record=MemoryRecord.of(text, scope="a", source=source), score=1.0)


def test_hits_are_a_sequence_whose_sources_come_once_in_rank_order() -> None:
    hits = Hits((hit("1", "b.md"), hit("2", "a.md"), hit("3", "b.md"), hit("4", "")))

    assert hits.sources == ("b.md", "a.md")
    assert [one.text for one in hits] == ["1", "2", "3", "4"]
    assert (len(hits), hits[0].source, hits[1:].sources) == (4, "b.md", ("a.md", "b.md"))
    assert not Hits()


def test_a_parsed_id_is_refused_when_its_scope_is_not_one() -> None:
    with pytest.raises(InvalidMemory, match="segment"):
        parsed_id(RecordId("a b#" + "0" * 32))
