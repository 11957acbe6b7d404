"""The lexical leg: BM25 by tantivy, in RAM, rebuilt from the store whenever a shard opens.

Text is cut by `analyzer` on both sides and a question becomes a list of term queries, never
query syntax, so that no question can be a syntax error or reach into another field.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable

import tantivy
from tantivy import Filter, Occur, Tokenizer

from regrow.memory.errors import ShardClosed
from regrow.memory.record import Scope

LIMIT_QUERY_TERMS = 128
"""Different terms of a question that are looked up; a question that long is a document."""

LIMIT_TOKEN_CHARS = 64
"""Longer runs without a space are no words; tantivy leaves them out."""

LIMIT_UNCOMMITTED = 10_000
"""So many additions are committed in between, which keeps the first search after a long ingest short."""

WRITER_HEAP_BYTES = 32_000_000
"""tantivy asks for 15 MB a thread at least; with little more it writes many small segments."""

_TEXT, _ROW, _SCOPE = "text", "row", "scope"
_ANALYZER = "regrow"


def analyzer() -> tantivy.TextAnalyzer:
    """Words of letters and digits, without case and accents, without English stop words, stemmed for English."""
    builder = tantivy.TextAnalyzerBuilder(Tokenizer.simple())
    for step in (
        Filter.remove_long(LIMIT_TOKEN_CHARS),
        Filter.lowercase(),
        Filter.ascii_fold(),
        Filter.stopword("english"),
        Filter.stemmer("english"),
    ):
        builder = builder.filter(step)
    return builder.build()


class LexicalIndex:
    """Rows of text, found by their words. Calls block and may come from any thread.

    Additions and removals are collected and committed before the next search, since a commit costs
    milliseconds whatever it holds. BM25 with k1 = 1.2 and b = 0.75, tantivy's constants.
    """

    def __init__(self) -> None:
        schema = tantivy.SchemaBuilder()
        schema.add_unsigned_field(_ROW, indexed=True, fast=True)
        schema.add_text_field(_TEXT, tokenizer_name=_ANALYZER, index_option="freq")
        schema.add_text_field(_SCOPE, tokenizer_name="raw", index_option="basic")
        self._schema = schema.build()
        self._analyzer = analyzer()
        self._index = tantivy.Index(self._schema)
        self._index.register_tokenizer(_ANALYZER, self._analyzer)
        # The default policy reloads on its own after a commit and then holds the lock that our reload
        # needs; tantivy tries that lock again only after 100 ms.
        self._index.config_reader("manual", 0)
        # One thread: with more, the rows of one batch would land in as many segments.
        self._writer: tantivy.IndexWriter | None = self._index.writer(WRITER_HEAP_BYTES, 1)
        # The writer is one Rust object that must not be entered by two threads.
        self._writing = threading.Lock()
        self._uncommitted = 0

    def add(self, rows: Iterable[tuple[int, Scope, str]]) -> None:
        """Adds rows (number, scope, text). The numbers are new and not negative; that is the caller's care.

        Raises:
            ShardClosed: the index was closed; the same from `remove` and `search`.
        """
        with self._writing:
            writer = self._open_writer()
            for row, scope, text in rows:
                document = tantivy.Document()
                document.add_unsigned(_ROW, row)
                document.add_text(_TEXT, text)
                # Every scope above the row's is a term of its own: a filter is one exact term,
                # and `acme` can not match `acme-corp`.
                for path in scope.lineage:
                    document.add_text(_SCOPE, path)
                writer.add_document(document)
                self._uncommitted += 1
            if self._uncommitted >= LIMIT_UNCOMMITTED:
                self._commit(writer)

    def remove(self, rows: Iterable[int]) -> None:
        """Removes the rows that are there."""
        with self._writing:
            writer = self._open_writer()
            gone = list(rows)
            # Not `delete_documents_by_term`: it makes a signed term of an int (tantivy-py 0.27), which
            # matches nothing in an unsigned field, and says nothing.
            writer.delete_documents_by_query(tantivy.Query.term_set_query(self._schema, _ROW, gone))
            self._uncommitted += len(gone)

    def search(self, text: str, k: int, scope: Scope) -> list[tuple[int, float]]:
        """The best `k` rows at or below `scope` that share a word with `text`, as (row, BM25 score).

        Nothing where the text has no words, or only stop words. A word that comes twice counts twice.
        """
        counts = Counter(self._analyzer.analyze(text))
        if not counts:
            return []
        with self._writing:
            writer = self._open_writer()
            if self._uncommitted:
                self._commit(writer)
        searcher = self._index.searcher()
        found = searcher.search(self._query(counts, scope), k, count=False).hits
        addresses = [address for _, address in found]
        rows = searcher.fast_field_values(_ROW, addresses)
        return [(int(row), float(score)) for row, (score, _) in zip(rows, found, strict=True) if row is not None]

    def close(self) -> None:
        """Ends tantivy's threads; the index can not be written any more."""
        with self._writing:
            writer, self._writer = self._writer, None
            if writer is not None:
                writer.wait_merging_threads()

    def _query(self, counts: Counter[str], scope: Scope) -> tantivy.Query:
        # most_common keeps the order of the text among equals, so the limit cuts off its end.
        terms = [self._boosted(self._term(_TEXT, t, "freq"), n) for t, n in counts.most_common(LIMIT_QUERY_TERMS)]
        words = tantivy.Query.boolean_query([(Occur.Should, term) for term in terms])
        if not scope.path:
            return words
        inside = tantivy.Query.const_score_query(self._term(_SCOPE, scope.path, "basic"), 0.0)
        return tantivy.Query.boolean_query([(Occur.Must, words), (Occur.Must, inside)])

    def _term(self, field: str, value: str, index_option: str) -> tantivy.Query:
        return tantivy.Query.term_query(self._schema, field, value, index_option)

    @staticmethod
    def _boosted(query: tantivy.Query, count: int) -> tantivy.Query:
        return query if count == 1 else tantivy.Query.boost_query(query, float(count))

    def _open_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            raise ShardClosed
        return self._writer

    def _commit(self, writer: tantivy.IndexWriter) -> None:
        writer.commit()
        self._index.reload()
        self._uncommitted = 0
