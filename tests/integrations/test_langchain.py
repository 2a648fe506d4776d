"""LangChain's chains and LangGraph's graphs, tuned as they are, on a scripted LM."""

from __future__ import annotations

import difflib
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError, StudyPaused
from tests.integrations.films import Films, exact, rows
from tests.integrations.recording import RecordingServer

pytestmark = pytest.mark.integrations

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL: dict[str, Any] = {
    "data": lt.Splits(rows(0, 15), rows(30, 45), rows(60, 90)),
    "auto": 40,
    "optimizer": lt.MIPRO(demo_sizes=(0, 2)),
}
"""A study where it does not matter what it finds."""


@pytest.fixture(autouse=True)
def langchain() -> None:
    pytest.importorskip("langchain_openai")
    pytest.importorskip("langgraph")


@pytest.fixture
def films(monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordingServer]:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    with RecordingServer(Films()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("MODEL", "toy")
        yield server


def example(name: str) -> ModuleType:
    sys.modules.pop(f"examples.{name}", None)
    return importlib.import_module(f"examples.{name}")


def tune(program: ModuleType, directory: Path, **settings: Any) -> Any:
    from luthier.integrations.langchain import lm_of

    data = lt.Splits(rows(0, 30), rows(30, 60), rows(60, 120))
    settings = {"data": data, "auto": 100, "optimizer": lt.MIPRO(demo_sizes=(0, 2, 4, 4)), **settings}
    return lt.optimize(
        program.ask,
        metric=exact,
        lm=lm_of(program.model),
        study_dir=directory / "study",
        concurrency=16,
        **settings,
    )


def test_the_example_is_brought_over_with_five_changed_lines() -> None:
    before = (EXAMPLES / "langgraph_rag.py").read_text(encoding="utf-8").splitlines()[1:]  # the docstrings differ, too
    after = (EXAMPLES / "langgraph_rag_tuned.py").read_text(encoding="utf-8").splitlines()[1:]
    added = [line[2:] for line in difflib.ndiff(before, after) if line.startswith("+ ") and line[2:].strip()]
    removed = [line for line in difflib.ndiff(before, after) if line.startswith("- ")]
    assert len(added) == 5, added
    assert len(removed) == 4, removed


def test_the_graph_gets_better_prompts(films: RecordingServer, tmp_path: Path) -> None:
    program = example("langgraph_rag_tuned")
    result = tune(program, tmp_path)
    assert result.decision == "adopt"
    assert result.verdict.after - result.verdict.before > 0.1
    assert sorted(result.candidate.prompts) == ["answer", "grade", "rewrite"]
    assert "{passages}" in result.candidate.prompts["answer"].instruction
    films.bodies.clear()
    assert result.program(question="Who made Film130?")
    assert films.bodies  # the tuned program asks with the user's own client


def test_the_original_sends_inside_a_study_what_it_sent_before_luthier(films: RecordingServer, tmp_path: Path) -> None:
    before = example("langgraph_rag")
    for row in rows(30, 45):
        before.ask(question=row["question"])
    outside = list(films.bodies)
    films.bodies.clear()
    tuned = example("langgraph_rag_tuned")
    for row in rows(30, 45):
        tuned.ask(question=row["question"])
    assert films.bodies == outside  # outside of a study
    films.bodies.clear()
    tune(tuned, tmp_path, **SMALL)
    assert set(outside) <= set(films.bodies)  # and inside


def test_a_tuned_prompt_leaves_as_langchains_own_and_sends_the_same(films: RecordingServer, tmp_path: Path) -> None:
    from langchain_core.prompts import ChatPromptTemplate

    program = example("langgraph_rag_tuned")
    result = tune(program, tmp_path, **SMALL)
    inside = set(films.bodies)
    plain = example("langgraph_rag")
    for name, chain, rest in (
        ("grader", "grade", plain.grader.steps[1:]),
        ("rewriter", "rewrite", plain.rewriter.steps[1:]),
        ("answerer", "answer", plain.answerer.steps[1:]),
    ):
        prompt = getattr(program, name).prompt_with(result.best.prompts[chain])
        assert type(prompt) is ChatPromptTemplate
        made = prompt
        for step in rest:
            made = made | step
        setattr(plain, name, made)
    films.bodies.clear()
    for row in rows(60, 90):
        plain.ask(question=row["question"])
    assert films.bodies
    assert set(films.bodies) <= inside


def test_calls_are_metered_and_a_quota_pauses(films: RecordingServer, tmp_path: Path) -> None:
    program = example("langgraph_rag_tuned")
    films.fail = lambda number: 402 if number > 120 else 0
    with pytest.raises(StudyPaused):
        tune(program, tmp_path)
    films.fail = lambda number: 500 if number % 10 == 0 else 0
    result = tune(program, tmp_path)
    assert result.decision == "adopt"
    baseline = next(event for event in result.events if event["event"] == "baseline")
    assert {outcome["outcome"] for outcome in baseline["outcomes"]} == {"scored"}
    assert min(outcome["cost"]["lm_calls"] for outcome in baseline["outcomes"]) >= 3


def test_the_budget_holds_by_the_servers_count(films: RecordingServer, tmp_path: Path) -> None:
    program = example("langgraph_rag_tuned")
    tune(program, tmp_path, auto=None, budget=lt.Budget(lm_calls=1500))
    assert 300 < len(films.bodies) <= 1500


def test_an_answer_out_of_form_is_unparseable(films: RecordingServer, tmp_path: Path) -> None:
    answer = Films()
    films.answer = lambda body: "Well, maybe." if "Film3" in str(body["messages"][-1]) else answer(body)
    result = tune(example("langgraph_rag_tuned"), tmp_path, **SMALL)
    baseline = next(event for event in result.events if event["event"] == "baseline")
    blamed = {outcome["blamed"] for outcome in baseline["outcomes"] if outcome["outcome"] == "unparseable"}
    assert blamed == {"grade"}


def test_a_prompt_alone_is_a_text_that_keeps_its_placeholders(films: RecordingServer, tmp_path: Path) -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate

    from luthier.integrations.langchain import connect, tunable

    program = example("langgraph_rag_tuned")
    template = ChatPromptTemplate.from_messages(
        [("system", "Use {{braces}} and {passages}."), ("human", "Question: {question}")]
    )
    tuned = tunable(template, "answer")
    (text,) = tuned.luthier_texts
    assert text.text == "Use {braces} and {passages}."
    given = {"passages": "P", "question": "Q"}
    assert tuned.invoke(given) == template.invoke(given)
    chain = tuned | connect(program.model) | StrOutputParser()

    def ask(question: str) -> str:
        number = "".join(filter(str.isdigit, question))
        passages = f"Film{number} was directed by Maker{number}."
        return str(chain.invoke({"passages": passages, "question": question}))

    made = ModuleType("made")
    made.ask, made.model = ask, program.model  # type: ignore[attr-defined]
    result = tune(made, tmp_path)
    assert list(result.candidate.prompts) == ["answer"]
    assert not result.best.prompts["answer"].demos
    assert "{passages}" in result.best.prompts["answer"].instruction


def test_a_proposal_is_inserted_and_never_read_as_a_template() -> None:
    from langchain_core.prompts import ChatPromptTemplate

    from luthier.integrations.langchain.region import region_of

    template = ChatPromptTemplate.from_messages([("system", "See {passages:>5}."), ("human", "{question}")])
    region = region_of(template, "p")
    assert region.placeholders == ("{passages:>5}",)
    filled = template.model_copy(update={"messages": region.filled('{"a": {question}} {passages:>5} {} }{')})
    assert filled.invoke({"passages": "P", "question": "Q"}).messages[0].content == '{"a": {question}}     P {} }{'


def test_demos_stand_before_the_last_human_message() -> None:
    from langchain_core.language_models import FakeListChatModel
    from langchain_core.prompts import ChatPromptTemplate

    from luthier.integrations.langchain import tunable

    template = ChatPromptTemplate.from_messages(
        [("system", "Sort."), ("placeholder", "{history}"), ("human", "Text: {text}")]
    )
    chain = tunable(template | FakeListChatModel(responses=["x"]), "sort")
    prompt = chain.prompt_with(lt.Prompt("Sort well.", (lt.Demo({"text": "a"}, {"sort": "b"}),)))
    said = [(message.type, message.content) for message in prompt.invoke({"text": "c"}).messages]
    assert said == [("system", "Sort well."), ("human", "Text: a"), ("ai", "b"), ("human", "Text: c")]


@pytest.mark.filterwarnings("ignore::luthier.errors.LabelWarning")  # its original scores nothing
def test_async_graphs_and_chains_are_awaited(films: RecordingServer, tmp_path: Path) -> None:
    program = example("langgraph_rag_tuned")

    async def ask(question: str) -> str:
        return str(await program.answerer.ainvoke({"passages": question, "question": question}))

    made = ModuleType("made")
    made.ask, made.model = ask, program.model  # type: ignore[attr-defined]
    result = tune(made, tmp_path, **SMALL)
    baseline = next(event for event in result.events if event["event"] == "baseline")
    assert {outcome["cost"]["lm_calls"] for outcome in baseline["outcomes"]} == {1}


def test_what_cannot_be_tuned_is_refused() -> None:
    from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

    from luthier.integrations.langchain import connect, tunable

    with pytest.raises(ConfigError, match="mustache"):
        tunable(ChatPromptTemplate([("system", "{{a}}")], template_format="mustache"), "m")
    with pytest.raises(ConfigError, match="takes a ChatPromptTemplate"):
        tunable(PromptTemplate.from_template("{a}"), "p")
    with pytest.raises(ConfigError, match="not a chat model"):
        connect(object())


def test_the_study_keeps_no_key(films: RecordingServer, tmp_path: Path) -> None:
    tune(example("langgraph_rag_tuned"), tmp_path, **SMALL)
    written = [path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert not any(b"sk-not-a-key" in content for content in written)
    assert json.loads((tmp_path / "study" / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0])[
        "program"
    ].endswith(":ask")
