"""The benchmark's tasks: data as published, parts that share nothing, programs that run, metrics as described."""

from __future__ import annotations

import gzip
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from benchmarks.suites.running import run_case
from benchmarks.suites.suite import Case
from benchmarks.tasks import heart_disease, hotpotqa_conditional, hover, retrieval, sources
from benchmarks.tasks.registry import task, task_names
from benchmarks.tasks.sources import RepositoryFile, repository_file
from luthier.demo import iris
from luthier.demo.packaged import DATA_DIR
from luthier.errors import ConfigError, DataError, Unavailable
from luthier.evaluation.splits import split
from luthier.lm.doubles import ScriptedLM
from luthier.lm.request import Request
from luthier.program.program import discover

needs_data = pytest.mark.skipif("LUTHIER_DATA_DIR" not in os.environ, reason="LUTHIER_DATA_DIR names no data folder")

PREDICTORS = {
    "hotpotqa": {"search_query", "answer"},
    "hotpotqa_conditional": {"search_query", "answer"},
    "hover": {"summary_1", "query_2", "summary_2", "query_3"},
    "scone": {"scone"},
    "iris": {"iris"},
    "iris_typo": {"iris_typo"},
    "heart_disease": {"opinion_0", "opinion_1", "opinion_2", "vote"},
    "scone_short": {"scone"},
    "iris_short": {"iris"},
    "iris_typo_short": {"iris_typo"},
    "heart_disease_short": {"opinion_0", "opinion_1", "opinion_2", "vote"},
}


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A corpus of four articles, and a cache of its own."""
    file = tmp_path / "corpus.jsonl"
    articles = {
        "Luthier": "A luthier makes string instruments.",
        "Violin": "A violin has four strings and is played with a bow.",
        "Oboe": "An oboe is a woodwind with a double reed.",
        "Iris": "An iris is a flower with three petals.",
    }
    file.write_text("".join(json.dumps({"title": t, "text": x}) + "\n" for t, x in articles.items()), encoding="utf-8")
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "cache" / "models"))
    monkeypatch.setenv(retrieval.CORPUS, str(file))
    monkeypatch.delenv(retrieval.COLBERT_URL, raising=False)
    retrieval.bm25.cache_clear()
    yield file
    retrieval.bm25.cache_clear()


def talk(request: Request) -> str:
    """Answer anything in the form of any of the tasks' predictors."""
    return "Thinking.\nsearch_query: violin\nQuery: violin\nSummary: strings\nAnswer: no"


def test_every_task_has_the_predictors_of_the_paper() -> None:
    assert {name: {p.name for p in discover(task(name).program).predictors} for name in task_names()} == PREDICTORS


def test_a_task_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ConfigError, match="heart_disease"):
        task("mnist")


@needs_data
@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_parts_have_the_sizes_of_the_task_and_share_nothing(name: str) -> None:
    found = task(name)
    if found.group is None:
        parts = found.splits(split_seed=1)
        assert tuple(len(part) for part in parts) == found.sizes
    else:
        train, val, test = found.sizes
        parts = found.splits(split_seed=1, sizes=(train // 2, val // 2, test // 2))
        groups = [{row[found.group] for row in part} for part in parts]
        assert not (groups[0] & groups[1] or groups[0] & groups[2] or groups[1] & groups[2])
    split(parts, discover(found.program), inputs=found.inputs)  # raises where inputs are shared


@needs_data
@pytest.mark.parametrize("name", ["hotpotqa", "hotpotqa_conditional", "scone", "iris", "hover"])
def test_more_test_examples_than_there_are_are_refused(name: str) -> None:
    with pytest.raises(DataError):
        task(name).splits(0, (5, 5, 100_000))


@needs_data
def test_another_seed_gives_another_cut_and_the_same_seed_the_same() -> None:
    assert task("scone").splits(1).test != task("scone").splits(2).test
    assert task("heart_disease").splits(1) == task("heart_disease").splits(1)


@pytest.mark.parametrize("name", ["hotpotqa", "hotpotqa_conditional", "hover"])
def test_a_multi_hop_program_retrieves_and_answers(name: str, corpus: Path) -> None:
    with lt.use(lt.LM(talk)):
        found = task(name).program("Who makes a violin?")
    assert found if name != "hover" else any(passage.startswith("Violin | ") for passage in found)


def test_heart_disease_lets_three_trainees_speak_before_the_vote() -> None:
    asked: list[str] = []

    def listen(request: Request) -> str:
        asked.append("\n".join(message.text for message in request.messages))
        return "Reasoning: the vessels are clear.\nAnswer: no"

    patient = dict.fromkeys(heart_disease.INPUTS, "1")
    with lt.use(lt.LM(listen)):
        assert heart_disease.heart_disease(**patient) == "no"
    assert len(asked) == 4
    assert asked[-1].count("I am a trainee doctor. the vessels are clear. Hence, my answer is no.") == 3


def test_ucis_codes_become_the_words_of_the_task() -> None:
    codes = ["63.0", "1.0", "1.0", "145.0", "233.0", "1.0", "2.0", "150.0", "0.0", "2.3", "3.0", "?", "6.0", "0"]
    assert heart_disease._patient(codes) == {
        "age": "63",
        "sex": "male",
        "cp": "typical angina",
        "trestbps": "145",
        "chol": "233",
        "fbs": "true",
        "restecg": "left ventricular hypertrophy",
        "thalach": "150",
        "exang": "no",
        "oldpeak": "2.3",
        "slope": "downsloping",
        "ca": "unknown",
        "thal": "fixed defect",
        "answer": "no",
    }


@pytest.mark.parametrize(
    ("category", "right", "given", "passes"),
    [
        ("person", "Van Zandt", "van zandt", True),
        ("person", "Van Zandt", "Van Zandt", False),
        ("place", "Paris, Texas", "Paris Texas", True),
        ("place", "Paris, Texas", "Paris, Texas", False),
        ("date", "May 1, 1999", "May 1, 1999 Peace!", True),
        ("date", "May 1, 1999", "May 1, 1999", False),
        ("city", "Paris", "PARIS", True),
        ("city", "Paris", "PARIS Peace!", False),
        ("boolean", "yes", "NO", False),
    ],
)
def test_the_form_of_a_conditional_answer_depends_on_its_kind(
    category: str, right: str, given: str, passes: bool
) -> None:
    example = {"category": category, "answer": right}
    assert hotpotqa_conditional.metric(example, given) is passes
    assert hotpotqa_conditional.released_metric(example, given) is (passes and category != "date")


def test_hover_is_right_only_when_every_article_was_found() -> None:
    example = {"titles": ["The Iris", "Violin"]}
    assert hover.all_found(example, ["Iris | A flower.", "violin | Four strings."])
    assert not hover.all_found(example, ["Iris | A flower.", "Viola | Four strings."])


def test_bm25_finds_what_shares_words_and_keeps_its_index(corpus: Path) -> None:
    assert retrieval.search("Who plays a violin with a bow?", 2)[0].startswith("Violin | ")
    retrieval.bm25.cache_clear()
    (built,) = (corpus.parent / "cache" / "bm25").iterdir()
    before = built.stat().st_mtime_ns
    assert len(retrieval.search("reed", 100)) == 4, "never more than there are"
    assert built.stat().st_mtime_ns == before, "the index is built once"


def test_without_a_corpus_the_error_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (retrieval.CORPUS, retrieval.COLBERT_URL, DATA_DIR):
        monkeypatch.delenv(name, raising=False)
    retrieval.bm25.cache_clear()
    with pytest.raises(DataError, match="LUTHIER_DATA_DIR"):
        retrieval.search("anything", 3)
    monkeypatch.setenv(retrieval.CORPUS, "/nowhere/corpus.jsonl")
    with pytest.raises(DataError, match=r"the corpus /nowhere/corpus\.jsonl cannot be read: No such file"):
        retrieval.search("anything", 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "has no words to search for"),
        ('{"title": "The", "text": "of"}\n', "has no words to search for"),
        ('{"title": null, "text": "3"}\n', "title and text of row 1 must be texts"),
    ],
)
def test_a_corpus_that_cannot_be_searched_is_refused(content: str, said: str, corpus: Path) -> None:
    corpus.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=said):
        retrieval.search("anything", 3)


@pytest.mark.parametrize("damage", ["passages.json", "params.index.json", "data.csc.index.npy"])
def test_a_damaged_index_is_built_anew(damage: str, corpus: Path) -> None:
    retrieval.search("violin", 1)
    retrieval.bm25.cache_clear()
    (built,) = (corpus.parent / "cache" / "bm25").iterdir()
    (built / damage).write_bytes((built / damage).read_bytes()[:5])
    assert retrieval.search("Who plays a violin with a bow?", 1)[0].startswith("Violin | ")
    assert list((corpus.parent / "cache" / "bm25").iterdir()) == [built], "nothing is left beside it"


def test_another_data_folder_is_another_corpus(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(retrieval.CORPUS)
    for name in ("Cello", "Oboe"):
        file = corpus.parent / name / "wiki_corpus" / "corpus.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps({"title": name, "text": "An instrument."}) + "\n", encoding="utf-8")
        monkeypatch.setenv(DATA_DIR, str(corpus.parent / name))
        assert retrieval.search("instrument", 1) == [f"{name} | An instrument."]


@pytest.mark.parametrize("name", ["hotpotqa", "hotpotqa_conditional", "hover"])
def test_a_corpus_that_is_missing_is_found_out_before_a_case_asks_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(retrieval.CORPUS, str(tmp_path / "corpus.jsonl"))
    monkeypatch.delenv(retrieval.COLBERT_URL, raising=False)
    lm = ScriptedLM(talk)
    result = run_case(Case(name, "mipro", "openai/any", 1, 40), tmp_path, lambda name, longest: lt.LM(lm))
    assert (result["status"], lm.calls) == ("failed", 0)
    assert result["error"].startswith("DataError: the corpus ")


class Service(BaseHTTPRequestHandler):
    """Answers as a ColBERTv2 server does, and hands out one file."""

    file = b"question,answer,answer category\nWho?,Ann,person\n"

    def do_GET(self) -> None:
        body = (
            self.file
            if "query=" not in self.path
            else json.dumps({"topk": [{"text": "Iris | A flower."}] * 5}).encode()
        )
        self.send_response(503 if "down" in self.path else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Service)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_colbert_server_is_asked_the_same_way(service: str) -> None:
    assert retrieval.ColBERTServer(f"{service}/search").search("flower", 2) == ["Iris | A flower."] * 2


@pytest.mark.parametrize(
    "reply",
    [{"error": True}, [], None, {"topk": None}, {"topk": [{"pid": 1}]}, {"topk": ["a"]}, {"topk": [{"text": None}]}],
)
def test_a_reply_without_passages_is_infrastructure_not_a_score(reply: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "get_json", lambda url, query: reply)
    with pytest.raises(Unavailable, match="http://host/api sent no passages"):
        retrieval.ColBERTServer("http://host/api").search("anything", 3)


def test_a_failing_retriever_is_infrastructure_not_a_score(service: str) -> None:
    with pytest.raises(Unavailable, match="503"):
        retrieval.ColBERTServer(f"{service}/down").search("flower", 2)


def test_a_repositorys_file_is_verified_and_kept(service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(sources, "RAW", service)
    right = RepositoryFile("a/b", "c0ffee", "d.csv", "4b2d1f8f8f8f")
    with pytest.raises(DataError, match="not the file expected") as refused:
        repository_file(right)
    blob = str(refused.value).rsplit(" ", 1)[1].rstrip(")")[:12]
    assert repository_file(RepositoryFile("a/b", "c0ffee", "d.csv", blob)) == Service.file
    monkeypatch.setattr(sources, "RAW", "http://127.0.0.1:9")
    assert repository_file(RepositoryFile("a/b", "c0ffee", "d.csv", blob)) == Service.file


@pytest.mark.parametrize("gzipped", [False, True])
def test_every_file_of_the_data_folder_may_be_gzipped(
    gzipped: bool, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flower = {"petal_length": 1.4, "petal_width": 0.2, "sepal_length": 5.1, "sepal_width": 3.5, "species": "setosa"}

    def keep(path: str, content: str) -> None:
        file = tmp_path / "data" / (f"{path}.gz" if gzipped else path)
        file.parent.mkdir(parents=True)
        file.write_bytes(gzip.compress(content.encode()) if gzipped else content.encode())

    keep("iris/iris.jsonl", json.dumps(flower) + "\n")
    keep("wiki_corpus/corpus.jsonl", corpus.read_text(encoding="utf-8"))
    monkeypatch.setenv(DATA_DIR, str(tmp_path / "data"))
    monkeypatch.delenv(retrieval.CORPUS)
    assert iris.flowers() == [flower]
    assert retrieval.search("Who plays a violin with a bow?", 1)[0].startswith("Violin | ")


@pytest.mark.parametrize(
    ("path", "column", "name"),
    [
        ("iris/iris.jsonl", "petal_length", "iris"),
        ("heart_disease/heart_disease.jsonl", "age", "heart_disease"),
        ("scone/scone_nli_train.jsonl", "id", "scone"),
        ("hotpotqa/hotpotqa_train_ctx.jsonl", "question", "hotpotqa"),
        ("hotpotqa_conditional/train.jsonl", "question", "hotpotqa_conditional"),
        ("hover/hover_dev.jsonl", "claim", "hover"),
    ],
)
def test_data_of_another_shape_are_named_with_file_row_and_column(
    path: str, column: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text('{"colour": "red"}\n', encoding="utf-8")
    monkeypatch.setenv(DATA_DIR, str(tmp_path))
    with pytest.raises(DataError, match=rf"{path}: row 1 has no '{column}'; needed are "):
        task(name).examples()
    (tmp_path / path).write_text("[1]\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"{path}: row 1 is no JSON object"):
        task(name).examples()


def test_a_file_of_the_data_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "iris.jsonl.gz").write_text("not gzipped", encoding="utf-8")
    monkeypatch.setenv(DATA_DIR, str(tmp_path))
    with pytest.raises(DataError, match=r"iris\.jsonl\.gz is no JSON Lines file"):
        iris.flowers()
