"""Histories and effects as files: what is written is read, and what is damaged is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from history import Effect, Event, EventType, HistoryUnreadable, Recorder, append_line, read_effects, read_events


def test_what_is_recorded_is_read_again(tmp_path: Path) -> None:
    events = [
        Event(type=EventType.INVOKE, time=0.5, process="one", agent="a", command="c", effects=("write",), poison=True),
        Event(type=EventType.OK, command="c", position=0, epoch=1),
    ]
    with (tmp_path / "history").open("w") as file:
        recorder = Recorder(file)
        for event in events:
            recorder.add(event)

    assert read_events(tmp_path / "history") == events == recorder.events


def test_effects_are_read_in_their_order_and_none_where_nothing_was_done(tmp_path: Path) -> None:
    lines = [
        Effect(effect="write", agent="a", command=f"c{n}", key=f"k{n}", epoch=1, source="s", number=n) for n in range(3)
    ]

    assert read_effects(tmp_path / "effects") == []
    for line in lines:
        append_line(tmp_path / "effects", line.line())
    assert read_effects(tmp_path / "effects") == lines


@pytest.mark.parametrize("line", ["{", "[]", '{"type": "oh"}', '{"more": 1}', "{}"])
def test_a_line_that_is_none_is_told_with_its_number(tmp_path: Path, line: str) -> None:
    for name, read in (("history", read_events), ("effects", read_effects)):
        (tmp_path / name).write_text(f"{line}\n")

        with pytest.raises(HistoryUnreadable, match=f"{name}, line 1"):
            read(tmp_path / name)
