"""Candidates on disk."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from luthier.errors import CandidateError
from luthier.program.candidate import Candidate, Demo, DemoSource, Prompt, Provenance
from luthier.program.files import file_stems

NASTY = [
    "",
    "\n",
    "---",
    "---\npredictor: x\n---\n",
    "a\r\nb\r\n",
    "\ufeffx",
    "\u2028",
    "é\x00",
    "\ud800",
    "a\n\n\n",
    "```",
]

texts = st.sampled_from(NASTY) | st.text(st.characters(exclude_categories=[]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
provenances = st.none() | st.builds(
    Provenance, st.sampled_from(DemoSource), example=st.none() | texts, call=st.none() | st.integers(0, 9)
)
demos = st.builds(
    Demo,
    st.dictionaries(texts, json_values, max_size=2),
    st.dictionaries(texts, json_values, max_size=2),
    st.none() | texts,
    provenances,
)
prompts = st.builds(Prompt, texts, st.lists(demos, max_size=3).map(tuple))
names = (
    st.sampled_from(["a", "A", "Class.method", "../x", "/etc/passwd", "..", "", "a/b", "a%2Fb", "é", "x" * 300, "CON"])
    | texts
)
candidates = st.dictionaries(names, prompts, max_size=4).map(
    lambda prompts: Candidate(prompts, {name: f"f{number}" for number, name in enumerate(prompts)})
)


@settings(deadline=None)  # a busy disk is no fault of the files
@given(candidates)
def test_what_was_saved_is_loaded(candidate: Candidate) -> None:
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "inside" / "prompts"
        candidate.save(folder)
        loaded = Candidate.load(folder)
        assert loaded == candidate
        assert [[d.provenance for d in p.demos] for p in loaded.prompts.values()] == [
            [d.provenance for d in p.demos] for p in candidate.prompts.values()
        ]
        assert sorted(path.name for path in Path(top).iterdir()) == ["inside"]
        assert [path.name for path in (Path(top) / "inside").iterdir()] == ["prompts"]
        assert all(path.parent == folder for path in folder.rglob("*"))


@given(st.lists(names, max_size=6, unique=True))
def test_no_name_leaves_the_directory_and_no_two_meet(predictors: list[str]) -> None:
    stems = file_stems(predictors)
    assert len({stem.casefold() for stem in stems.values()}) == len(predictors)
    for stem in stems.values():
        assert stem
        assert Path(stem).name == stem
        assert not stem.startswith(".")
        assert len(stem) <= 120


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    demo = Demo({"q": "2 + 2"}, {"a": 4})
    Candidate({"answer": Prompt("Answer.\n\nBe brief.", (demo,)), "plan": Prompt("Plan.")}, {"answer": "f"}).save(
        tmp_path
    )
    return tmp_path


def test_the_files_are_readable(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "answer.demos.jsonl",
        "answer.md",
        "candidate.json",
        "plan.md",
    ]
    assert (saved / "answer.md").read_text(encoding="utf-8") == '---\npredictor: "answer"\n---\nAnswer.\n\nBe brief.\n'
    assert (saved / "answer.demos.jsonl").read_text(
        encoding="utf-8"
    ) == '{"inputs": {"q": "2 + 2"}, "outputs": {"a": 4}}\n'


def test_edits_by_hand_win(saved: Path) -> None:
    path = saved / "answer.md"
    path.write_text(path.read_text(encoding="utf-8").replace("brief", "kind"), encoding="utf-8")
    demos = saved / "answer.demos.jsonl"
    demos.write_text(demos.read_text(encoding="utf-8") + '\n{"inputs": {}, "outputs": {"a": 5}}', encoding="utf-8")
    (saved / "plan.md").write_text("No front matter", encoding="utf-8")
    loaded = Candidate.load(saved)
    assert loaded.prompts["answer"].instruction == "Answer.\n\nBe kind."
    assert len(loaded.prompts["answer"].demos) == 2
    assert loaded.prompts["plan"].instruction == "No front matter"


def test_a_checkout_that_turned_line_ends_changes_nothing(saved: Path) -> None:
    before = Candidate.load(saved)
    for path in saved.iterdir():
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert Candidate.load(saved) == before


def test_saving_again_leaves_no_demos_of_before(saved: Path) -> None:
    Candidate({"answer": Prompt("New.")}).save(saved)
    assert Candidate.load(saved) == Candidate({"answer": Prompt("New.")})
    assert not (saved / "answer.demos.jsonl").exists()


def test_missing_and_damaged_files_are_named(saved: Path) -> None:
    (saved / "answer.demos.jsonl").write_text('{"inputs": {}}\n', encoding="utf-8")
    with pytest.raises(CandidateError, match=r"answer.demos.jsonl, line 1"):
        Candidate.load(saved)
    (saved / "answer.demos.jsonl").unlink()
    with pytest.raises(CandidateError, match=r"answer.demos.jsonl: No such file"):
        Candidate.load(saved)
    (saved / "plan.md").write_bytes(b"\xff")
    (saved / "answer.demos.jsonl").write_text("", encoding="utf-8")
    with pytest.raises(CandidateError, match=r"plan.md is not UTF-8"):
        Candidate.load(saved)
    (saved / "candidate.json").write_text("[]", encoding="utf-8")
    with pytest.raises(CandidateError, match=r"candidate.json is not the index"):
        Candidate.load(saved)
    with pytest.raises(CandidateError, match="cannot read"):
        Candidate.load(saved / "nowhere")


def test_a_newer_version_is_refused(saved: Path) -> None:
    index = json.loads((saved / "candidate.json").read_text(encoding="utf-8"))
    (saved / "candidate.json").write_text(json.dumps({**index, "luthier_candidate": 2}), encoding="utf-8")
    with pytest.raises(CandidateError, match="newer luthier"):
        Candidate.load(saved)


def test_a_place_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(CandidateError, match="cannot save"):
        Candidate({}).save(tmp_path / "file")
    with pytest.raises(CandidateError, match="cannot save"):
        Candidate({"a": Prompt("", (Demo({"x": float("nan")}, {}),))}).save(tmp_path)
