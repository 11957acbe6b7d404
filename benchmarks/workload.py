"""The agents that the benchmarks measure, and their messages.

Hosts import this module, so it holds nothing but what runs in them.
"""

from __future__ import annotations

import os

from payload import SCORE, SOURCE, TEXT, TOPIC

from regrow import Agent, App, Message, Request, Supervisor, child, on


class Note(Message):
    """What is told: about 200 bytes."""

    seq: int
    source: str
    topic: str
    score: float
    text: str


class Answer(Message):
    """The reply to a Question."""

    seq: int
    text: str


class Question(Request[Answer]):
    """What is asked: the fields of a Note."""

    seq: int
    source: str
    topic: str
    score: float
    text: str


class Tally(Message):
    """How many notes came since the last count, and how many of them out of turn."""

    notes: int
    out_of_turn: int


class Count(Request[Tally]):
    """Answered behind all notes that were sent before it; starts the next count."""


class Pid(Request[int]):
    """Asks for the process id."""


class Desk(Agent):
    """Takes notes, checks their order by their numbers, and answers questions."""

    def __init__(self) -> None:
        self.next_seq = 0
        self.out_of_turn = 0

    @on
    async def take(self, note: Note) -> None:
        """Counts a note."""
        if note.seq != self.next_seq:
            self.out_of_turn += 1
        self.next_seq += 1

    @on
    async def count(self, request: Count) -> Tally:
        """Tells the count and forgets it."""
        tally = Tally(notes=self.next_seq, out_of_turn=self.out_of_turn)
        self.next_seq = self.out_of_turn = 0
        return tally

    @on
    async def answer(self, question: Question) -> Answer:
        """Answers at once."""
        return Answer(seq=question.seq, text=question.text)

    @on
    async def pid(self, request: Pid) -> int:
        """Where this agent runs."""
        return os.getpid()


desk_app = App("bench", child(Desk, id="desk"))

# Killed dozens of times on purpose, which is more than a supervisor should accept in real life.
victim_app = App("victim", Supervisor(max_restarts=1_000, within_s=1.0, children=[child(Desk, id="desk")]))


def note(seq: int) -> Note:
    """The note with this number, validated as it is made."""
    return Note(seq=seq, source=SOURCE, topic=TOPIC, score=SCORE, text=TEXT)


def question(seq: int) -> Question:
    """The question with this number, validated as it is made."""
    return Question(seq=seq, source=SOURCE, topic=TOPIC, score=SCORE, text=TEXT)
