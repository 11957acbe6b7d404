"""A supervised research desk: it reads a folder of documents and answers questions with sources and quotes.

    python desk.py --docs FOLDER --ask "What is it for?"

Readers, an analyst and a scribe (researchers.py) live under one supervisor. Midway the analyst's process is killed
with SIGKILL while it works on a question: the supervisor starts it again, and whoever asked asks again under the same
command id. Without arguments the desk reads Regrow's own documents. `--engine inline` needs no Ray.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

from documents import Library, NoDocuments, find, none_readable
from report import Kill, Report, Screen, complain, used_since
from researchers import (
    Analyst,
    Answer,
    Books,
    Ponder,
    Question,
    Read,
    ReadBooks,
    Reader,
    Scribe,
    WhenBegun,
)

from regrow import App, AskFailed, AskTimeout, Killed, Packed, Refused, RegrowError, Running, Supervisor, child
from regrow.cluster.app import ENGINES
from regrow.cluster.config import Settings
from regrow.cluster.errors import NoSuchTrace, TracesUnreadable
from regrow.cluster.past_traces import files_of, latest, spans_of
from regrow.cluster.span_row import SpanRow
from regrow.cluster.tree import TreeNode
from regrow.runtime import Bug

READERS = ("reader-1", "reader-2", "reader-3")

app = App(
    "desk",
    # In start order. Whoever dies, those after it start anew: the analyst leans on all the others.
    Supervisor(
        strategy="rest_for_one",
        children=[
            child(Scribe),
            child(
                # Up to a hundred documents may be so broken that they end their reader before the desk gives up.
                Supervisor(
                    max_restarts=100,
                    within_s=60.0,
                    children=[child(Reader, id=reader, placement=Packed("readers")) for reader in READERS],
                ),
                id="readers",
            ),
            child(Analyst),
        ],
    ),
)

READ_TIMEOUT_S = 120.0
ANSWER_TIMEOUT_S = 120.0
PONDER_S = 30.0
"""How long the analyst works on the question over which it is killed; the kill takes some milliseconds."""

LIMIT_ASKS = 3
"""How often a question is asked when whoever works on it is killed."""

LIMIT_QUESTION_CHARS = 2_000
TRACES_LOOKED_AT = 200

REPOSITORY = Path(__file__).resolve().parent.parent
OWN_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "docs")
OWN_QUESTIONS = (
    "Who restarts an agent?",
    "How does a message get from one host to another?",
    "Which model does which work?",
)
ANY_QUESTIONS = (
    "What is the purpose of this?",
    "How is it installed and used?",
    "Which limits and problems are known?",
)


class Desk:
    """One day at the desk, as those who ask see it."""

    def __init__(self, running: Running, library: Library, report: Report, screen: Screen) -> None:
        self.running = running
        self.library = library
        self.shelf = f"{app.name}/library/{library.version}"
        self.report = report
        self.screen = screen
        self.told_at_s = 0.0

    async def work(self, questions: Sequence[str]) -> None:
        """Reads, answers every question, loses its analyst over the middle one, and closes the books."""
        before = await self.books()
        await self.read_all(already_there=before.passages)
        for number, question in enumerate(questions, start=1):
            self.screen.asks(number, question)
            try:
                is_middle = number == (len(questions) + 1) // 2
                answer = await (self.ask_and_kill(question) if is_middle else self.ask(question))
            except (AskFailed, AskTimeout, Refused) as failure:
                self.report.failed.append((question, str(failure)))
                self.screen.failed(str(failure))
            else:
                self.report.answered.append((question, answer))
                self.screen.answers(answer)
        await self.close_books(before)

    async def read_all(self, *, already_there: int) -> None:
        """Hands each reader the next document when it is done with one. Raises NoDocuments if none can be read."""
        began_s = time.monotonic()
        waiting = deque(self.library.names)
        with self.screen.reading(len(waiting)) as advance:

            async def keep_busy(reader: str) -> None:
                while waiting:
                    name = waiting.popleft()
                    request = Read(folder=str(self.library.folder), name=name, shelf=self.shelf)
                    try:
                        passages = await self.running.ref(f"readers/{reader}").ask(request, timeout_s=READ_TIMEOUT_S)
                    except (AskFailed, AskTimeout, Refused) as failure:
                        self.report.skipped.append((name, str(failure)))
                    else:
                        self.report.documents += 1
                        self.report.passages += passages
                    advance(name)

            await asyncio.gather(*map(keep_busy, READERS))
        if not self.report.documents:
            raise NoDocuments(none_readable(self.library.folder, self.report.skipped))
        self.report.new_passages = (await self.books()).passages - already_there
        self.screen.has_read(self.report, self.library.others, time.monotonic() - began_s)

    async def ask(self, text: str) -> Answer:
        """Asks the analyst, and again under the same command id when it is killed before it has answered."""
        question = Question(text=text, shelf=self.shelf)
        command_id = str(uuid.uuid4())
        self.report.questions += 1
        asks = 0
        while True:
            asks += 1
            self.report.asks += 1
            try:
                answer = await self.read_answer(question, command_id)
            except AskFailed as failure:
                if asks == LIMIT_ASKS or not isinstance(failure.reason, Killed):
                    raise
                self.told_at_s = time.monotonic()
                self.report.reasks += 1
                self.screen.asker_told(failure)
            else:
                self.report.answers += 1
                return answer

    async def read_answer(self, question: Question, command_id: str) -> Answer:
        """Asks, and shows what is written as it comes. Raises what `ask` does."""
        analyst = self.running.ref(Analyst)
        with self.screen.writing() as write:
            async with analyst.stream(question, timeout_s=ANSWER_TIMEOUT_S, command_id=command_id) as stream:
                async for part in stream:
                    write(part)
        return stream.reply

    async def ask_and_kill(self, text: str) -> Answer:
        """Asks, and kills the analyst's process while it works on the answer."""
        nodes = await self.nodes()
        victim = nodes[self.running.ref(Analyst).id]
        if why_not := reason_to_spare(victim, nodes.values()):
            self.screen.not_killed(why_not)
            return await self.ask(text)
        await self.running.ref(Analyst).tell(Ponder(seconds=PONDER_S))
        asking = asyncio.create_task(self.ask(text))
        try:
            await self.running.ref(Scribe).ask(WhenBegun(question=text))
            self.screen.killed(victim.id, victim.incarnation, victim.pid)
            killed_at_s = self.told_at_s = time.monotonic()
            os.kill(victim.pid, signal.SIGKILL)
            answer = await asking
            answered_at_s = time.monotonic()
        finally:
            asking.cancel()
        heir = (await self.nodes())[victim.id]
        begun = await self.running.ref(Scribe).ask(WhenBegun(question=text, times=2))
        self.report.kill = Kill(
            agent=victim.id,
            life=victim.incarnation,
            pid=victim.pid,
            reason=heir.last_reason,
            asker_told_after_ms=round((self.told_at_s - killed_at_s) * 1_000, 1),
            answered_after_ms=round((answered_at_s - killed_at_s) * 1_000, 1),
            next_life=heir.incarnation,
            next_pid=heir.pid,
            begun_as=begun.command_ids,
        )
        self.screen.regrown(self.report.kill)
        return answer

    async def close_books(self, before: Books) -> None:
        """Completes the report."""
        now = await self.books()
        counts = await self.running.counts()
        self.report.answers_remembered = now.answers
        self.report.usage = used_since(before.usage, now.usage)
        self.report.restarts = sum(node.restarts for node in (await self.nodes()).values())
        self.report.messages = counts.messages
        self.report.dead_letters = counts.dead

    async def books(self) -> Books:
        """How the books stand."""
        return await self.running.ref(Scribe).ask(ReadBooks(shelf=self.shelf))

    async def nodes(self) -> dict[str, TreeNode]:
        """Everything that is supervised, by id."""
        return {node.id: node for root in await self.running.tree() for _, node in root.walk()}


def reason_to_spare(victim: TreeNode, everyone: Iterable[TreeNode]) -> str:
    """Why the process of an agent can not be killed; empty when it can, and nobody else would die with it."""
    if victim.pid == os.getpid():
        return "Inline, all agents share this process, so none is killed here; --engine ray shows it."
    title = Path(f"/proc/{victim.pid}/cmdline")  # on another machine the number may be that of anything
    is_here = title.exists() and title.read_bytes().startswith(b"ray::")
    if not is_here or sum(node.pid == victim.pid for node in everyone) > 1:
        return f"{victim.id} shares its process or runs on another machine, so it is not killed here."
    return ""


def _folder(docs: str) -> Path:
    try:
        return Path(docs).expanduser()
    except RuntimeError:
        raise NoDocuments(f"{docs} names the home of a user who is not here; give the folder itself") from None


def library_of(docs: str) -> Library:
    """The documents of the folder that was asked for, or else Regrow's own. Raises NoDocuments."""
    if docs:
        return find(_folder(docs))
    if not (REPOSITORY / "pyproject.toml").is_file() or not (REPOSITORY / "docs").is_dir():
        raise NoDocuments(
            "Regrow's own documents are not where this file is; name a folder of yours with --docs FOLDER"
        )
    return find(REPOSITORY, only=OWN_DOCUMENTS)


async def day(options: argparse.Namespace, screen: Screen) -> Report:
    """Opens the desk, works, closes it. Raises NoDocuments and whatever starting an app raises."""
    library = library_of(options.docs)
    settings = Settings.load()
    if "level" not in settings.log.model_fields_set:  # what warnings would tell is shown
        settings = settings.model_copy(update={"log": settings.log.model_copy(update={"level": "error"})})
    if settings.tracing.enabled is None:  # the desk ends with one
        settings = settings.model_copy(update={"tracing": settings.tracing.model_copy(update={"enabled": True})})
    models = {tier.value: model.model or "extractive" for tier, model in settings.models.tiers}
    report = Report(engine=options.engine, models=models, folder=str(library.folder), skipped=list(library.skipped))
    screen.begins(report, is_extractive=settings.models.is_extractive)
    questions = [text for text in options.ask if text] or (ANY_QUESTIONS if options.docs else OWN_QUESTIONS)
    began_ns = time.time_ns()
    with screen.starting():
        running = await app.start(engine=options.engine, settings=settings)
    try:
        await Desk(running, library, report, screen).work(tuple(dict.fromkeys(questions)))
    finally:
        await running.stop()
    report.trace = trace_of_question(settings, began_ns)
    return report


def trace_of_question(settings: Settings, since_ns: int) -> list[SpanRow]:
    """The spans of the question of this run with the most to see, as they are kept; none where none are."""
    files = files_of(settings, app.name)
    try:
        found = [each for each in latest(files, limit=TRACES_LOOKED_AT)[0] if each.start_ns >= since_ns]
        asked = [each for each in found if each.root == f"send {app.name}/analyst"]
        return spans_of(files, max(asked, key=lambda each: each.spans).trace_id) if asked else []
    except (NoSuchTrace, TracesUnreadable):
        return []  # the books are closed, and what is only to be looked at must not spoil that


def question(text: str) -> str:
    """What was typed as a question, checked."""
    if len(text) > LIMIT_QUESTION_CHARS or not text.isprintable():
        raise argparse.ArgumentTypeError(f"a question is one line of at most {LIMIT_QUESTION_CHARS:,} characters")
    return text.strip()


def options_from(arguments: Sequence[str] | None) -> argparse.Namespace:
    """What was typed; an empty --docs or --ask counts as none."""
    parser = argparse.ArgumentParser(description="A supervised research desk on Regrow.")
    parser.add_argument("--docs", default="", metavar="FOLDER", help="the documents to read (default: Regrow's own)")
    parser.add_argument("--ask", default=[], metavar="QUESTION", type=question, action="append", help="may be repeated")
    parser.add_argument("--engine", default="ray", choices=ENGINES, help="where the agents run (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout, all else on stderr")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the desk; returns 0, 1 where a question failed, 2 where something is missing, 130 after Ctrl-C."""
    options = options_from(arguments)
    screen = Screen(json_only=options.json)
    try:
        report = asyncio.run(day(options, screen))
    except Bug:
        raise  # ours and not yours: the traceback is what helps
    except (NoDocuments, RegrowError) as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("stopped; what was read stays remembered")
        return 130
    screen.ends(report)
    if options.json:
        print(report.as_json())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
