"""DSPy programs tuned in the place of MIPROv2, on a scripted LM whose best program is known."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.errors import ConfigError, DataError, DiscoveryError, StudyPaused
from luthier.lm.request import Usage
from tests.integrations.recording import RecordingServer

pytestmark = pytest.mark.integrations


@pytest.fixture(autouse=True)
def dspy() -> Any:
    return pytest.importorskip("dspy")


@pytest.fixture
def scripted(dspy: Any) -> Iterator[RecordingServer]:
    from benchmarks.dspy_tutorials import ScriptedLM

    with RecordingServer(ScriptedLM()) as server:
        yield server


def lm_at(server: RecordingServer, **settings: Any) -> Any:
    import dspy

    given = {"temperature": 0.0, "max_tokens": 300, "cache": False, "api_key": "sk-not-a-key", **settings}
    return dspy.LM("openai/toy", api_base=server.url, **given)


def tutorial(name: str) -> Any:
    from benchmarks.dspy_tutorials import tutorials

    return tutorials()[name]


def tune(
    name: str, server: RecordingServer, directory: Path, *, student: Any = None, metric: Any = None, **settings: Any
) -> Any:
    import dspy

    from luthier.integrations.dspy import Luthier

    given = tutorial(name)
    settings = {"max_labeled_demos": 4, "max_bootstrapped_demos": 4, "auto": 80, **settings}
    with dspy.context(lm=lm_at(server)):
        optimizer = Luthier(metric=metric or given.metric, log_dir=directory / "study", **settings)
        return optimizer.compile(
            given.program() if student is None else student,
            trainset=given.train[:30],
            valset=given.val[:30],
            testset=given.test[:60],
        )


def journal(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (directory / "study" / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    ]


@pytest.mark.parametrize("name", ["classification", "extraction", "hops", "agent"])
def test_a_tutorials_program_gets_better_prompts(name: str, scripted: RecordingServer, tmp_path: Path) -> None:
    tuned = tune(name, scripted, tmp_path)
    result = tuned.luthier_result
    assert result.decision == "adopt"
    assert result.verdict.after - result.verdict.before > 0.1
    assert result.program is tuned
    assert any(predict.demos for predict in tuned.predictors())


def test_a_tutorials_script_is_brought_over_with_two_changed_lines(
    scripted: RecordingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = Path(__file__).parents[2] / "examples"
    before, after = (
        [line for line in (examples / name).read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
        for name in ("dspy_people.py", "dspy_people_tuned.py")
    )
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 2, changed
    monkeypatch.setenv("MODEL", "openai/toy")
    monkeypatch.setenv("API_BASE", scripted.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.chdir(tmp_path)
    result = importlib.import_module("examples.dspy_people_tuned").tune().luthier_result
    assert (result.decision, result.verdict.n) == ("adopt", 50)
    assert (tmp_path / "runs" / "ChainOfThought" / "report.html").exists()


def test_the_verdicts_examples_are_cut_where_none_are_given(
    dspy: Any, scripted: RecordingServer, tmp_path: Path
) -> None:
    from luthier.integrations.dspy import Luthier

    given = tutorial("classification")
    sizes = {}
    with dspy.context(lm=lm_at(scripted)):
        for name, train, val in (("halves", 30, 50), ("pooled", 60, 30), ("alone", 100, 0)):
            optimizer = Luthier(metric=given.metric, auto=100, log_dir=tmp_path / name)
            everything = [*given.train, *given.val]
            held = everything[train : train + val] or None
            optimizer.compile(given.program(), trainset=everything[:train], valset=held)
            manifest = json.loads((tmp_path / name / "journal.jsonl").read_text(encoding="utf-8").splitlines()[0])
            sizes[name] = tuple(manifest["data"][part]["n"] for part in ("train", "val", "test"))
    assert sizes == {"halves": (30, 25, 25), "pooled": (22, 32, 36), "alone": (25, 35, 40)}


def test_what_comes_back_is_copied_and_saved_whole_like_any_program(
    dspy: Any, scripted: RecordingServer, tmp_path: Path
) -> None:
    tuned = tune("classification", scripted, tmp_path)
    assert tuned.deepcopy().dump_state() == tuned.dump_state()
    tuned.save(str(tmp_path / "whole"), save_program=True)
    assert dspy.load(str(tmp_path / "whole"), allow_pickle=True).dump_state() == tuned.dump_state()


def test_the_student_stays_as_it_is_and_what_comes_back_is_plain_dspy(
    dspy: Any, scripted: RecordingServer, tmp_path: Path
) -> None:

    given = tutorial("hops")
    student = given.program()
    before = student.dump_state()
    tuned = tune("hops", scripted, tmp_path, student=student)
    assert student.dump_state() == before
    assert type(tuned) is type(student)
    assert {type(predict) for predict in tuned.predictors()} == {dspy.Predict}
    assert [name for name, _ in tuned.named_predictors()] == ["write_query.predict", "take_notes.predict"]


def test_the_original_sends_inside_a_study_what_it_sends_outside(
    dspy: Any, scripted: RecordingServer, tmp_path: Path
) -> None:
    given = tutorial("classification")
    with dspy.context(lm=lm_at(scripted)):
        for example in given.val[:30]:
            given.program()(**example.inputs())
    outside = list(scripted.bodies)
    tune("classification", scripted, tmp_path)
    assert set(outside) <= set(scripted.bodies[len(outside) :])


def test_a_saved_program_loads_in_plain_dspy_and_sends_the_same_bytes(
    dspy: Any, scripted: RecordingServer, tmp_path: Path
) -> None:
    given = tutorial("hops")
    tuned = tune("hops", scripted, tmp_path)
    assert tuned.luthier_result.decision == "adopt"
    inside = set(scripted.bodies)
    tuned.save(str(tmp_path / "tuned.json"))
    loaded = given.program()
    loaded.load(str(tmp_path / "tuned.json"))
    scripted.bodies.clear()
    with dspy.context(lm=lm_at(scripted)):
        for example in given.test[:15]:
            loaded(**example.inputs())
    assert len(scripted.bodies) == 4 * 15
    assert set(scripted.bodies) <= inside


def test_a_finished_study_is_read_not_paid_again(scripted: RecordingServer, tmp_path: Path) -> None:
    first = tune("classification", scripted, tmp_path)
    paid = len(scripted.bodies)
    again = tune("classification", scripted, tmp_path)
    assert len(scripted.bodies) == paid
    assert again.dump_state() == first.dump_state()


def test_a_used_up_quota_pauses_the_study_and_nothing_is_paid_twice(scripted: RecordingServer, tmp_path: Path) -> None:
    scripted.fail = lambda number: 402 if number > 100 else 0
    with pytest.raises(StudyPaused):
        tune("classification", scripted, tmp_path)
    assert all(
        outcome["outcome"] == "scored"
        for event in journal(tmp_path)
        for outcome in event.get("outcomes", ())
        if isinstance(outcome, dict) and "outcome" in outcome
    )
    answered = scripted.bodies[:100]
    scripted.bodies.clear()
    scripted.fail = lambda number: 0
    assert tune("classification", scripted, tmp_path).luthier_result.decision == "adopt"
    programs = {body for body in answered if b"[[ ## label ## ]]" in body}
    assert len(programs & set(scripted.bodies)) <= 64  # those under way when it paused


def test_failing_answers_are_asked_for_again_and_never_score(scripted: RecordingServer, tmp_path: Path) -> None:
    plain = tune("classification", scripted, tmp_path / "calm")
    scripted.fail = lambda number: 500 if number % 10 == 0 else 0
    stormy = tune("classification", scripted, tmp_path / "storm")
    assert stormy.luthier_result.verdict.before == plain.luthier_result.verdict.before
    assert stormy.luthier_result.decision == "adopt"


def test_the_budget_holds_by_the_servers_count(scripted: RecordingServer, tmp_path: Path) -> None:
    tune("classification", scripted, tmp_path, auto=None, budget=lt.Budget(lm_calls=400))
    assert 200 < len(scripted.bodies) <= 400


def test_an_answer_in_another_form_is_unparseable_not_an_error(dspy: Any, tmp_path: Path) -> None:
    from benchmarks.dspy_tutorials import ScriptedLM

    answer = ScriptedLM()

    def mumbling(body: Any) -> str:
        said = answer(body)
        return "I would rather not say." if "Message 6" in body["messages"][-1]["content"] else said

    with RecordingServer(mumbling) as server:
        tune("classification", server, tmp_path)
    baseline = next(event for event in journal(tmp_path) if event["event"] == "baseline")
    kinds = {outcome["outcome"] for outcome in baseline["outcomes"]}
    assert kinds == {"scored", "unparseable"}
    assert {outcome["blamed"] for outcome in baseline["outcomes"] if outcome["outcome"] == "unparseable"} == {"predict"}


def test_metrics_are_dspys_own(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:

    seen: list[tuple[bool, bool]] = []

    def metric(example: Any, prediction: Any, trace: Any = None) -> Any:
        seen.append((isinstance(example, dspy.Example), trace is None))
        if trace is not None:
            assert [type(step[0]).__name__ for step in trace] == ["Predict"]
            return example.label == prediction.label
        return dspy.Prediction(score=float(example.label == prediction.label), feedback="so it is")

    tuned = tune("classification", scripted, tmp_path, metric=metric)
    assert tuned.luthier_result.decision == "adopt"
    assert set(seen) == {(True, True), (True, False)}  # a trace for the teacher alone


def test_an_async_module_is_awaited(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:
    from benchmarks.dspy_tutorials import SortMessage

    class Awaited(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.ChainOfThought(SortMessage)

        async def aforward(self, text: str) -> Any:
            return await self.sort.acall(text=text)

    tuned = tune("classification", scripted, tmp_path, student=Awaited())
    assert tuned.luthier_result.decision == "adopt"


def test_threads_that_dspy_starts_belong_to_the_run(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:
    from benchmarks.dspy_tutorials import SortMessage

    class Voting(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict(SortMessage)

        def forward(self, text: str) -> Any:
            both = [(self.sort, {"text": text}), (self.sort, {"text": f"{text} "})]
            return dspy.Parallel(num_threads=2, disable_progress_bar=True)(both)[0]

    tune("classification", scripted, tmp_path, student=Voting())
    baseline = next(event for event in journal(tmp_path) if event["event"] == "baseline")
    assert {outcome["cost"]["lm_calls"] for outcome in baseline["outcomes"]} == {2}


def test_every_part_keeps_the_lm_it_has_of_its_own(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:
    from benchmarks.dspy_tutorials import ScriptedLM

    given = tutorial("hops")
    with RecordingServer(ScriptedLM()) as other:
        student = given.program()
        student.take_notes.set_lm(lm_at(other))
        tune("hops", scripted, tmp_path, student=student)
        assert all(b"`new_notes`" in body for body in other.bodies)
        assert len(other.bodies) > 100
    assert not any(b"`new_notes` (list[str])" in body and b"`query`" not in body for body in scripted.bodies)


def test_teacher_and_proposer_are_lms_apart(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:
    from benchmarks.dspy_tutorials import ScriptedLM

    with RecordingServer(ScriptedLM()) as other:
        teacher = dspy.LM("openai/teacher", api_base=other.url, api_key="none", temperature=0.5, cache=False)
        tune("classification", scripted, tmp_path, teacher_settings={"lm": teacher}, prompt_model=teacher)
        asked = [json.loads(body) for body in other.bodies]
    assert {body["model"] for body in asked} == {"teacher"}
    runs = [body for body in asked if "`label`" in body["messages"][0]["content"]]
    assert {body["temperature"] for body in runs} == {0.5}
    assert not any("max_completion_tokens" in body for body in runs)
    assert all(b"`label`" in body for body in scripted.bodies)


def test_an_lm_of_luthiers_answers_where_it_is_given(scripted: RecordingServer, tmp_path: Path) -> None:
    model = lt.LM("toy", base_url=scripted.url, temperature=0.0, max_tokens=300)
    tuned = tune("extraction", scripted, tmp_path, task_model=model)
    assert tuned.luthier_result.decision == "adopt"
    manifest = journal(tmp_path)[0]
    assert manifest["lms"]["task"]["identity"].startswith("toy at ")


def test_an_answer_is_more_than_its_text_and_nothing_of_it_is_lost(dspy: Any) -> None:
    from dspy import lm15

    from luthier.integrations.dspy.wire import to_completion, to_response

    parts = (lm15.ThinkingPart("hm"), lm15.TextPart("yes"), lm15.ToolCallPart("c1", "search", {"query": "x"}))
    response = lm15.Response("1", "toy", lm15.Message("assistant", parts), "stop", lm15.Usage(3, 2))
    kept = to_completion(response, whole=True)
    assert (kept.text, kept.usage) == ("yes", Usage(3, 2, 0, 1))
    assert to_response(kept, "toy").message == response.message
    plain = lm15.Response("1", "toy", lm15.Message("assistant", parts[1:]), "tool_call", lm15.Usage(3, 2))
    assert to_completion(plain, whole=True).raw is None
    assert to_response(to_completion(plain, whole=True), "toy").message == plain.message


def test_an_lm_that_is_asked_past_luthier_is_named(
    dspy: Any, scripted: RecordingServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from benchmarks.dspy_tutorials import SortMessage

    class Stray(dspy.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.sort = dspy.Predict(SortMessage)

        def forward(self, text: str) -> Any:
            with dspy.context(lm=dspy.LM("openai/stray", api_base=scripted.url, api_key="none", cache=False)):
                return self.sort(text=text)

    tune("classification", scripted, tmp_path, student=Stray())
    assert "openai/stray was asked past luthier" in caplog.text


def test_the_key_is_nowhere_on_disk(scripted: RecordingServer, tmp_path: Path) -> None:
    tune("classification", scripted, tmp_path)
    written = [path.read_bytes() for path in (tmp_path / "study").rglob("*") if path.is_file()]
    assert not any(b"sk-not-a-key" in content for content in written)


def test_what_cannot_be_meant_is_refused_before_a_call(dspy: Any, scripted: RecordingServer, tmp_path: Path) -> None:
    from luthier.integrations.dspy import Luthier

    given = tutorial("classification")
    with pytest.raises(ConfigError, match="no setting num_trails"):
        Luthier(metric=given.metric, num_trails=3)
    with dspy.context(lm=None), pytest.raises(ConfigError, match="no LM"):
        Luthier(metric=given.metric).compile(given.program(), trainset=given.train)
    with dspy.context(lm=lm_at(scripted)):
        optimizer = Luthier(metric=given.metric, log_dir=tmp_path)
        with pytest.raises(DataError, match="with_inputs"):
            optimizer.compile(given.program(), trainset=[dspy.Example(text="a", label="b")])
        with pytest.raises(DiscoveryError):
            optimizer.compile(lambda text: text, trainset=given.train)
        with pytest.raises(ConfigError, match="teacher_settings"):
            optimizer.compile(given.program(), trainset=given.train, teacher=given.program())
    assert not scripted.bodies
