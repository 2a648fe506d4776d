"""Passages for the multi-hop tasks: BM25 over a local corpus, or a ColBERTv2 server; the same interface.

A corpus is a JSON Lines file, gzipped or not, of ``{"title": …, "text": …}``. Its index is built once, kept in the
cache under the corpus's hash, and memory-mapped.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from benchmarks.tasks.sources import missing
from luthier.demo.packaged import local_file, rows_of
from luthier.errors import ConfigError, DataError, Unavailable
from luthier.lm.local.weights import cache_dir
from luthier.net.ask import get_json
from luthier.net.fetch import shown

COLBERT_URL = "LUTHIER_COLBERT_URL"
"""Environment variable: the address of a ColBERTv2 server, as DSPy's ``ColBERTv2`` asks it (``?query=…&k=…``)."""
CORPUS = "LUTHIER_CORPUS"
"""Environment variable: a corpus file, instead of ``wiki_corpus/corpus.jsonl`` below ``LUTHIER_DATA_DIR``."""

_BUILDING = threading.Lock()


class Retriever(Protocol):
    """Finds passages; callable from many threads."""

    def search(self, query: str, k: int) -> list[str]:
        """Return the ``k`` best passages, each as "title | text"."""
        ...


def search(query: str, k: int) -> list[str]:
    """Return the ``k`` best passages of the retriever that the environment names, each as "title | text".

    Raises:
        DataError, ConfigError: as ``opened``.
        Unavailable: the server failed.
    """
    return opened().search(query, k)


def opened() -> Retriever:
    """Return the retriever that the environment names.

    Raises:
        DataError: there is no corpus, or it cannot be read.
        ConfigError: the package ``bm25s`` is not installed.
    """
    if url := os.environ.get(COLBERT_URL):
        return ColBERTServer(url)
    corpus = os.environ.get(CORPUS) or local_file("wiki_corpus/corpus.jsonl")
    if corpus is None:
        raise missing(
            f"a corpus for retrieval, {CORPUS} to such a file, or {COLBERT_URL} to a ColBERTv2 server's address,"
        )
    with _BUILDING:
        return bm25(Path(corpus))


@functools.lru_cache(maxsize=4)
def bm25(corpus: Path) -> BM25:
    """Return BM25 over a corpus file, opened once.

    Raises:
        DataError, ConfigError: as ``BM25``.
    """
    return BM25(corpus)


@dataclass(frozen=True, slots=True)
class ColBERTServer:
    """A ColBERTv2 server over HTTP (Santhanam et al. 2022), as the paper retrieves."""

    url: str

    def search(self, query: str, k: int) -> list[str]:
        """Return the ``k`` best passages.

        Raises:
            Unavailable: the server failed; the rollout is not scored.
        """
        found = get_json(self.url, {"query": query, "k": str(k)})
        try:
            texts = [passage["text"] for passage in found["topk"][:k]]
        except (KeyError, TypeError):
            texts = [None]
        if not all(isinstance(text, str) for text in texts):
            raise Unavailable(f"{shown(self.url)} sent no passages: {str(found)[:200]}")
        return texts


class BM25:
    """BM25 (k1 = 1.2, b = 0.75; Robertson & Zaragoza 2009) over titles, counted twice, and texts.

    Args:
        corpus: the corpus file.

    Raises:
        ConfigError: the package ``bm25s`` is not installed.
        DataError: the corpus cannot be read.
    """

    def __init__(self, corpus: Path) -> None:
        try:
            import bm25s
        except ImportError as error:
            raise ConfigError("retrieval needs the package bm25s: pip install bm25s") from error
        self._bm25s = bm25s
        try:
            digest = hashlib.sha256(corpus.read_bytes()).hexdigest()
        except OSError as error:
            raise DataError(f"the corpus {corpus} cannot be read: {error.strerror or error}") from error
        folder = cache_dir().parent / "bm25" / digest[:16]
        try:
            self._load(folder)
        except (OSError, ValueError):  # not built yet, or damaged
            self._build(corpus, folder)
            self._load(folder)

    def search(self, query: str, k: int) -> list[str]:
        """Return the ``k`` best passages; where none shares a word with the query, whichever come first."""
        tokens = self._tokens([query])
        found, _ = self._index.retrieve(tokens, k=min(k, len(self._passages)), show_progress=False)
        return [self._passages[int(number)] for number in found[0]]

    def _load(self, folder: Path) -> None:
        self._index = self._bm25s.BM25.load(str(folder), mmap=True)
        self._passages: Sequence[str] = json.loads((folder / "passages.json").read_text(encoding="utf-8"))

    def _build(self, corpus: Path, folder: Path) -> None:
        rows = rows_of(corpus, ("title", "text"))
        for number, row in enumerate(rows, 1):
            if not (isinstance(row["title"], str) and isinstance(row["text"], str)):
                raise DataError(f"{corpus}: title and text of row {number} must be texts")
        tokens = self._tokens([f"{row['title']} {row['title']} {row['text']}" for row in rows])
        if not tokens.vocab:
            raise DataError(f"the corpus {corpus} has no words to search for")
        index = self._bm25s.BM25(k1=1.2, b=0.75)
        index.index(tokens, show_progress=False)
        part = folder.with_name(f"{folder.name}.{os.getpid()}")
        index.save(str(part))
        passages = [f"{row['title']} | {row['text']}" for row in rows]
        (part / "passages.json").write_text(json.dumps(passages, ensure_ascii=False), encoding="utf-8")
        try:
            part.rename(folder)
        except OSError:  # another process was faster, or left a damaged one
            damaged = folder.with_name(f"{part.name}.damaged")
            try:
                self._load(folder)
            except (OSError, ValueError):
                folder.rename(damaged)
                part.rename(folder)
            shutil.rmtree(part, ignore_errors=True)
            shutil.rmtree(damaged, ignore_errors=True)

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self._bm25s.tokenize(list(texts), stopwords="en", show_progress=False)
