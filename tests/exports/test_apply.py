"""A study's result back in the user's files, and how two sets of prompts differ."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import luthier as lt
from luthier.cli.app import app
from luthier.errors import CandidateError, ConfigError
from luthier.exports.apply import apply
from luthier.program.candidate import Candidate

from ..report.fixture import PREDICTORS, journal, study

SOURCE = '''\
import luthier as lt


@lt.predictor
def summarize_complaint(complaint: str) -> str:
    """Summarize the complaint in one sentence."""
    return lt.predict()


@lt.predictor(output="team")
def route_ticket(summary: str, product: str) -> str:
    """Given the summary of a customer complaint and the product, say which team should handle it."""
    return lt.predict()
'''


@pytest.fixture
def adopted(tmp_path: Path) -> Path:
    return study(tmp_path / "study", journal(decision="adopt"))


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(each) for each in arguments], env={"COLUMNS": "200", "NO_COLOR": "1"})


def tuned(directory: Path) -> Candidate:
    events = [json.loads(line) for line in (directory / "journal.jsonl").read_text(encoding="utf-8").splitlines()]
    return Candidate.from_json(next(event for event in events if event["event"] == "choice")["candidate"])


def original() -> Candidate:
    return Candidate({name: lt.Prompt(text) for name, text in PREDICTORS.items()})


def test_prompts_are_written_into_a_directory_and_only_what_differs(adopted: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    original().save(prompts)
    (prompts / "notes.txt").write_text("mine", encoding="utf-8")
    dry = run("apply", adopted, prompts, "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "-Summarize the complaint in one sentence." in dry.stdout
    assert Candidate.load(prompts).key == original().key
    done = run("apply", adopted, prompts)
    assert done.exit_code == 0, done.output
    assert Candidate.load(prompts).key == tuned(adopted).key
    assert (prompts / "notes.txt").read_text(encoding="utf-8") == "mine"
    again = run("apply", adopted, prompts)
    assert "nothing to change" in again.stderr
    assert "written" not in again.stderr


def test_a_prompt_that_has_changed_since_is_not_overwritten(adopted: Path, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts"
    original().with_instruction("route_ticket", "By hand.").save(prompts)
    ended = run("apply", adopted, prompts)
    assert ended.exit_code == 2
    assert "'route_ticket'" in ended.stderr
    assert "changed since the study" in ended.stderr
    assert Candidate.load(prompts).prompts["route_ticket"].instruction == "By hand."
    original().with_prompt("stranger", lt.Prompt("x")).save(prompts)
    with pytest.raises(CandidateError, match="'stranger'"):
        apply(adopted, prompts)


def test_a_prompt_for_other_fields_is_not_overwritten(adopted: Path, tmp_path: Path) -> None:
    events = journal(decision="adopt")
    choice = next(event for event in events if event["event"] == "choice")
    choice["candidate"]["fingerprints"] = {"route_ticket": "summary: str -> team: str # b2:1"}
    study(adopted, events)
    Candidate(original().prompts, {"route_ticket": "summary: str -> queue: str # b2:2"}).save(tmp_path / "prompts")
    with pytest.raises(CandidateError, match="other fields: summary: str -> queue"):
        apply(adopted, tmp_path / "prompts")


def test_demonstrations_that_are_gone_leave_no_file(tmp_path: Path) -> None:
    events = journal(decision="adopt")
    best = next(event for event in events if event["event"] == "choice")["candidate"]
    before = Candidate.from_json(json.loads(json.dumps(best)))
    best["prompts"]["route_ticket"]["demos"] = []
    directory = study(tmp_path / "study", events)
    mixed = before.with_instruction("route_ticket", best["prompts"]["route_ticket"]["instruction"])
    mixed.save(tmp_path / "prompts")
    removed = tmp_path / "prompts" / "route_ticket.demos.jsonl"
    assert removed.exists()
    with pytest.raises(CandidateError, match="route_ticket"):
        apply(directory, tmp_path / "prompts")
    original().save(tmp_path / "prompts")
    removed.write_text("", encoding="utf-8")
    for edit in apply(directory, tmp_path / "prompts").edits:
        edit.write()
    assert not removed.exists()


def test_docstrings_are_rewritten_and_demonstrations_go_beside_them(adopted: Path, tmp_path: Path) -> None:
    file = tmp_path / "triage.py"
    file.write_text(SOURCE, encoding="utf-8")
    file.chmod(0o755)
    ended = run("apply", adopted, file, "--json")
    assert ended.exit_code == 0, ended.output
    told = json.loads(ended.stdout)
    assert told["files"][0] == file.as_posix()
    space: dict[str, Any] = {"__name__": "triage"}
    exec(compile(file.read_text(encoding="utf-8"), str(file), "exec"), space)
    for name in PREDICTORS:
        assert space[name].original.instruction == tuned(adopted).prompts[name].instruction
    assert Candidate.load(tmp_path / "prompts").key == tuned(adopted).key
    assert "lt.Candidate.load" in told["notes"][0]
    assert file.stat().st_mode & 0o777 == 0o755
    changed = [line for line in file.read_text(encoding="utf-8").splitlines() if line not in SOURCE.splitlines()]
    assert 0 < len(changed) < 8
    assert apply(adopted, file).edits == ()


def test_a_file_with_some_of_the_predictors_says_which_are_elsewhere(adopted: Path, tmp_path: Path) -> None:
    file = tmp_path / "half.py"
    file.write_text(SOURCE.split("@lt.predictor(output")[0], encoding="utf-8")
    found = apply(adopted, file)
    assert found.notes[0] == f"not in {file}, so not written: route_ticket"
    file.write_text("x = 1\n", encoding="utf-8")
    with pytest.raises(CandidateError, match="defines none of"):
        apply(adopted, file)


@pytest.mark.parametrize(("decision", "code"), [("keep", 10), ("undecided", 11)])
def test_what_was_not_adopted_is_applied_only_on_demand(tmp_path: Path, decision: str, code: int) -> None:
    directory = study(tmp_path / "study", journal(decision=decision))
    ended = run("apply", directory, tmp_path / "prompts")
    assert ended.exit_code == code
    assert "--best" in ended.stderr
    assert not (tmp_path / "prompts").exists()
    assert run("apply", directory, tmp_path / "prompts", "--best").exit_code == 0
    assert Candidate.load(tmp_path / "prompts").key == tuned(directory).key


def test_a_study_without_a_verdict_applies_nothing(tmp_path: Path) -> None:
    directory = study(tmp_path / "study", journal(until="tell"))
    assert run("apply", directory, tmp_path / "prompts").exit_code == 3
    assert run("apply", directory, tmp_path / "prompts", "--best").exit_code == 2
    (tmp_path / "empty").mkdir()
    assert run("apply", tmp_path / "empty", tmp_path / "prompts").exit_code == 2
    with pytest.raises(ConfigError, match="no file"):
        apply(study(tmp_path / "other", journal()), tmp_path / "nowhere.py")


def test_diff_ends_like_diff_and_shows_texts_line_by_line(adopted: Path, tmp_path: Path) -> None:
    tuned(adopted).save(tmp_path / "prompts")
    same = run("diff", adopted, tmp_path / "prompts")
    assert (same.exit_code, same.stdout) == (0, "")
    other = run("diff", "original", adopted)
    assert other.exit_code == 1
    assert f"+++ {adopted}: summarize_complaint" in other.stdout
    assert "-Summarize the complaint in one sentence." in other.stdout
    assert "# route_ticket: demonstrations 0 -> 12" in other.stdout


def test_diff_as_json_has_words_and_demonstrations(adopted: Path) -> None:
    told = json.loads(run("diff", adopted, "original", "--json").stdout)
    assert told["same"] is False
    change = told["predictors"]["route_ticket"]
    assert change["after"] == PREDICTORS["route_ticket"]
    assert "".join(before for before, _ in change["runs"]) == change["before"]
    assert "".join(after for _, after in change["runs"]) == change["after"]
    assert (change["demos"]["before"], len(change["demos"]["removed"])) == (12, 12)


def test_diff_needs_two_sides(tmp_path: Path, adopted: Path) -> None:
    assert run("diff", "original", "original").exit_code == 2
    original().save(tmp_path / "prompts")
    assert run("diff", "original", tmp_path / "prompts").exit_code == 2
    assert run("diff", adopted, tmp_path / "nowhere").exit_code == 2


TEMPLATE = """\
{# tune: system #}
Summarize the complaint in one sentence.
{# end #}
Never promise {{ anything }}.\r
{# tune: tone #}Be brief.{# end #}
"""
REGIONS = {"desk.system": "Summarize the complaint in one sentence.", "desk.tone": "Be brief."}


def template_study(directory: Path) -> Path:
    """Return a study that tuned a template's regions, and the demonstrations of a predictor that uses it."""
    events = journal(decision="adopt")
    manifest, choice = events[0], next(event for event in events if event["event"] == "choice")
    kinds = [{"name": name, "kind": "region", "instruction": text} for name, text in REGIONS.items()]
    manifest["predictors"] = [*kinds, {"name": "desk", "kind": "demos", "instruction": ""}]
    found = {
        name: {"instruction": f"{text[:-1]}, {{{{ kindly }}}}.", "demos": [], "kind": "region"}
        for name, text in REGIONS.items()
    }
    demo = {"inputs": {"complaint": "c"}, "outputs": {"desk": "d"}}
    choice["candidate"] = {"prompts": {**found, "desk": {"instruction": "", "demos": [demo], "kind": "demos"}}}
    return study(directory, events)


def test_a_templates_regions_are_rewritten_and_nothing_around_them(tmp_path: Path) -> None:
    directory, file = template_study(tmp_path / "study"), tmp_path / "desk.j2"
    file.write_bytes(TEMPLATE.encode())
    ended = run("apply", directory, file)
    assert ended.exit_code == 0, ended.output
    after = lt.Template.load(file)
    assert {f"desk.{name}": region.text for name, region in after.regions.items()} == {
        name: f"{text[:-1]}, {{{{ kindly }}}}." for name, text in REGIONS.items()
    }
    assert b"\nNever promise {{ anything }}.\r\n" in file.read_bytes()
    assert Candidate.load(tmp_path / "prompts").prompts["desk"].demos
    assert "nothing to change" in run("apply", directory, file).stderr


def test_a_region_that_has_changed_is_named_and_a_file_of_another_name_is_found(tmp_path: Path) -> None:
    directory, file = template_study(tmp_path / "study"), tmp_path / "other.j2"
    file.write_bytes(TEMPLATE.encode())
    assert len(apply(directory, file).edits) > 1
    file.write_bytes(TEMPLATE.replace("Be brief", "Be long").encode())
    with pytest.raises(CandidateError, match=r"'desk\.tone' has changed since"):
        apply(directory, file)
    file.write_text("{# tune: elsewhere #}x{# end #}", encoding="utf-8")
    with pytest.raises(CandidateError, match="not those of one template"):
        apply(directory, file)


def test_texts_leave_beside_prompts_and_a_templates_messages_are_left_to_it(tmp_path: Path) -> None:
    directory = template_study(tmp_path / "study")
    texts = Candidate({name: prompt for name, prompt in tuned(directory).prompts.items() if name != "desk"})
    space: dict[str, Any] = {}
    for form in ("python", "openai", "markdown", "json"):
        assert "kindly" in lt.export(texts, form), form
    exec(lt.export(texts, "python").split("# --- how")[0], space)
    assert space["TEXTS"]["desk.tone"] == "Be brief, {{ kindly }}."
    for form in ("dspy", "promptfoo"):
        with pytest.raises(ConfigError, match="holds only texts"):
            lt.export(texts, form)
    with pytest.raises(ConfigError, match="'desk': a template writes"):
        lt.export(directory, "python")


def test_what_the_study_started_from_may_be_overwritten(tmp_path: Path) -> None:
    deployed = original().with_instruction("route_ticket", "As it is today.")
    events = journal(decision="adopt")
    events[0]["start"] = {"deployed": deployed.key, "tried": []}
    deployed.save(tmp_path / "prompts")
    found = apply(study(tmp_path / "study", events), tmp_path / "prompts")
    assert "-As it is today." in "".join(edit.diff() for edit in found.edits)
