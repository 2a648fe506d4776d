"""Broken input of every kind, seeded: each case either works or ends in an error of ours, and quickly.

``tests/hostile/test_fuzz.py`` runs a few hundred cases of each kind, ``benchmarks/fuzz.py`` thousands.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

import luthier as lt
from luthier.cli.app import app
from luthier.errors import LuthierError
from luthier.evaluation.data import load_table, parameters_of
from luthier.lm.request import Completion, FinishReason
from luthier.lm.store import Store
from luthier.program.parse import parse
from luthier.program.program import discover
from luthier.report import write_report
from luthier.study.journal import read_journal
from tests.studies import world

_NASTY = (
    "", "\x00", "\ud800", "\u2028", "\u202e", "</script>", "{", "}", "[", "]", '"', "\\", "\\u", "null", "NaN", "1e999",
    "-0", "9" * 400, "\r\n", "\n", "\ufeff", "💥", "../../x", "{{", "%s", "\x1b[31m", "[/red]", "true", "a" * 5000,
    ":", ",", "---", "```", "<think>", "|", "\t",
)  # fmt: skip


def garbled(rng: random.Random, content: bytes) -> bytes:
    """Return content with bytes flipped, cut, doubled, moved, or nasty texts put in."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, to = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        kind = rng.randrange(6)
        if kind == 0 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif kind == 1:
            del data[at : min(to, at + 40)]
        elif kind == 2:
            data[at:at] = data[at : min(to, at + 200)]
        elif kind == 3:
            data[at:at] = rng.choice(_NASTY).encode("utf-8", "surrogatepass")
        elif kind == 4:
            del data[at:]
        else:
            data[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(data)


def nasty_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a value that a careless program chokes on."""
    kind = rng.randrange(9 if depth < 3 else 6)
    if kind == 6:
        return [nasty_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind in (7, 8):
        return {rng.choice(_NASTY): nasty_value(rng, depth + 1) for _ in range(rng.randrange(4))}
    plain: tuple[Any, ...] = (
        rng.choice(_NASTY), None, rng.choice((float("nan"), float("inf"), -0.0, 1e308)), rng.choice((True, False)),
        rng.choice((10**40, -1, 0)), b"bytes",
    )  # fmt: skip
    return plain[kind]


class Cases:
    """The kinds of cases, each a function of a generator; made once, as they need a finished study."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.study = folder / "study"
        result = lt.optimize(
            world.describe,
            world.rows(80),
            lt.exact_match("answer"),
            lm=lt.LM(world.answer),
            optimizer=lt.MIPRO(candidates=3, demo_sizes=(0, 2), instructions=2, trials=4, minibatch=6, closing=1),
            study_dir=self.study,
        )
        self.candidate = result.best
        self.journal = (self.study / "journal.jsonl").read_bytes()
        self.program = discover(world.describe)

    @property
    def kinds(self) -> Mapping[str, Callable[[random.Random], None]]:
        """Every kind by name."""
        return {
            "answers": self.answers,
            "journal": self.journals,
            "candidate files": self.candidates,
            "data files": self.data_files,
            "data values": self.data_values,
            "store": self.stores,
            "command line": self.command_lines,
        }

    def answers(self, rng: random.Random) -> None:
        """Parse an answer of nasty pieces for every type of output."""
        text = "".join(rng.choice(_NASTY) for _ in range(rng.randrange(1, 9)))
        name = rng.choice(list(self.outputs()))
        finish: FinishReason = rng.choice(("stop", "length", "content_filter", "other"))
        expect_ours(lambda: parse(self.outputs()[name].signature, Completion(name + ": " + text, finish)))

    @staticmethod
    def outputs() -> Mapping[str, Any]:
        """Return a predictor for every type of output."""
        return {predictor.name: predictor for predictor in (world.parity, world.size, *typed())}

    def journals(self, rng: random.Random) -> None:
        """Read, show and report a garbled journal; resume it."""
        folder = self._copy(rng)
        try:
            (folder / "journal.jsonl").write_bytes(garbled(rng, self.journal))
            expect_ours(lambda: read_journal(folder / "journal.jsonl"))
            expect_ours(lambda: write_report(folder))
            self._invoke(["show", str(folder)])
            self._invoke(["show", str(folder), "--json"])
        finally:
            shutil.rmtree(folder)

    def candidates(self, rng: random.Random) -> None:
        """Load a saved candidate one of whose files is garbled."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        try:
            self.candidate.save(folder)
            file = rng.choice(sorted(folder.iterdir()))
            file.write_bytes(garbled(rng, file.read_bytes()))
            expect_ours(lambda: lt.Candidate.load(folder))
        finally:
            shutil.rmtree(folder)

    def data_files(self, rng: random.Random) -> None:
        """Read a garbled data file."""
        rows = world.rows(12)
        kind = rng.choice((".jsonl", ".csv", ".jsonl.gz", ".parquet"))
        text = "".join(json.dumps(row) + "\n" for row in rows)
        if kind == ".csv":
            text = "number,answer\n" + "".join(f'{row["number"]},"{row["answer"]}"\n' for row in rows)
        file = self.folder / f"data{kind}"
        file.write_bytes(garbled(rng, text.encode()))
        expect_ours(lambda: load_table(file, parameters_of(self.program)))

    def data_values(self, rng: random.Random) -> None:
        """Take rows of nasty values and names as data."""
        names = [rng.choice(_NASTY) for _ in range(2)] if rng.random() < 0.3 else ["number", "answer"]
        rows: list[Any] = [{name: nasty_value(rng) for name in names} for _ in range(4)]
        if rng.random() < 0.2:
            rows[rng.randrange(4)] = nasty_value(rng)
        expect_ours(lambda: load_table(rows, parameters_of(self.program)))

    def stores(self, rng: random.Random) -> None:
        """Open, read and write a garbled store."""
        file = self.folder / "store.sqlite"
        file.write_bytes(garbled(rng, (self.study / "store.sqlite").read_bytes()))

        def use() -> None:
            store = Store(file)
            try:
                store.get("b2:0")
                store.set_value("x", 1)
            finally:
                store.close()

        try:
            expect_ours(use)
        finally:
            for left in self.folder.glob("store.sqlite*"):
                left.unlink()

    def command_lines(self, rng: random.Random) -> None:
        """Run a command with arguments of nasty pieces; it must end in a line and a code."""
        commands = ("optimize", "evaluate", "show", "export", "resume", "models", "bench", "demo")
        options = ("--data", "--metric", "--lm", "--json", "--budget-usd", "--seed", "--plan", "--prompts", "--", "-x")
        words = [rng.choice(commands)] if rng.random() < 0.9 else []
        for _ in range(rng.randrange(1, 6)):
            words.append(rng.choice(options) if rng.random() < 0.5 else rng.choice(_NASTY)[:200])
        if words[:1] == ["demo"]:
            words.append("--no-such-option")  # it would begin to work
        self._invoke(words)

    def _copy(self, rng: random.Random) -> Path:
        folder = self.folder / f"copy-{rng.getrandbits(48)}"
        shutil.copytree(self.study, folder)
        return folder

    def _invoke(self, words: list[str]) -> None:
        done = CliRunner().invoke(app, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise AssertionError(f"luthier {words!r}") from done.exception
        assert done.exit_code != 1, f"luthier {words!r}: {done.output[-800:]}"


def typed() -> tuple[Any, ...]:
    """Return predictors of further output types."""

    @lt.predictor
    def count(text: str) -> int:
        """Count."""
        return lt.predict()

    @lt.predictor
    def share(text: str) -> float:
        """Estimate."""
        return lt.predict()

    @lt.predictor
    def truth(text: str) -> bool:
        """Judge."""
        return lt.predict()

    @lt.predictor
    def many(text: str) -> list[str]:
        """List."""
        return lt.predict()

    @lt.predictor(reasoning=True)
    def thought(text: str) -> str:
        """Think."""
        return lt.predict()

    return count, share, truth, many, thought


def expect_ours(call: Callable[[], object]) -> None:
    """Call; an error of ours is fine, any other is not."""
    try:
        call()
    except LuthierError as error:
        assert str(error).strip(), "an error says what is wrong"
