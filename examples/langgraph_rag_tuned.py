"""The LangGraph program of ``langgraph_rag.py`` brought over: five lines are others, nothing else is."""

from __future__ import annotations

import os
import re
from typing import Any, Literal, TypedDict

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel, Field

from luthier.integrations.langchain import connect, tunable

PASSAGES = [f"Film{number} was directed by Maker{number}." for number in range(200)]


class State(TypedDict):
    """What the nodes hand on."""

    question: str
    query: str
    passages: list[str]
    answer: str
    tries: int


class Grade(BaseModel):
    """Whether a passage helps."""

    relevant: Literal["yes", "no"] = Field(description="whether the passage helps to answer the question")


model = connect(ChatOpenAI(model=os.environ.get("MODEL", "gpt-4.1-mini"), temperature=0))

grade_prompt = ChatPromptTemplate.from_messages(
    [
        ("system", "Say whether the passage helps to answer the question."),
        ("human", "Passage: {passage}\n\nQuestion: {question}"),
    ]
)
grader = tunable(grade_prompt | model.with_structured_output(Grade), "grade")

rewrite_prompt = ChatPromptTemplate.from_messages(
    [("system", "Rewrite the question as a query for a search by words."), ("human", "Rewrite: {question}")]
)
rewriter = tunable(rewrite_prompt | model | StrOutputParser(), "rewrite")

answer_prompt = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these passages, with a name alone:\n\n{passages}"),
        ("human", "Question: {question}"),
    ]
)
answerer = tunable(answer_prompt | model | StrOutputParser(), "answer")


def search(state: State) -> dict[str, Any]:
    """Find the passages that share most words with the query."""
    words = set(re.findall(r"\w+", state["query"].lower()))
    ranked = sorted(PASSAGES, key=lambda text: (-len(words & set(re.findall(r"\w+", text.lower()))), text))
    return {"passages": ranked[:2]}


def grade(state: State) -> dict[str, Any]:
    """Keep the passages that help."""
    kept = []
    for passage in state["passages"]:
        verdict = grader.invoke({"passage": passage, "question": state["question"]})
        if verdict.relevant == "yes":
            kept.append(passage)
    return {"passages": kept}


def rewrite(state: State) -> dict[str, Any]:
    """Ask in other words."""
    return {"query": rewriter.invoke({"question": state["question"]}), "tries": state["tries"] + 1}


def answer(state: State) -> dict[str, Any]:
    """Answer from what was kept."""
    passages = "\n".join(state["passages"])
    return {"answer": answerer.invoke({"passages": passages, "question": state["question"]})}


def next_step(state: State) -> Literal["rewrite", "answer"]:
    """Try other words once where nothing helps."""
    return "answer" if state["passages"] or state["tries"] else "rewrite"


workflow = StateGraph(State)
workflow.add_node("search", search)
workflow.add_node("grade", grade)
workflow.add_node("rewrite", rewrite)
workflow.add_node("answer", answer)
workflow.add_edge(START, "search")
workflow.add_edge("search", "grade")
workflow.add_conditional_edges("grade", next_step)
workflow.add_edge("rewrite", "search")
workflow.add_edge("answer", END)
graph = workflow.compile()


def ask(question: str) -> str:
    """Answer a question about films."""
    state = graph.invoke({"question": question, "query": question, "passages": [], "answer": "", "tries": 0})
    return str(state["answer"])
