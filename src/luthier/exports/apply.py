"""Writes a study's result back where its prompts live, so that what is reviewed is a diff of texts.

Nothing is written before all of it is known to fit: what has changed since the study began is never overwritten.
"""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from luthier.errors import CandidateError, ConfigError
from luthier.exports.docstrings import Wanted, rewrite
from luthier.exports.saved_study import StudyPrompts, study_prompts
from luthier.program.candidate import Candidate, Kind

PROMPTS = "prompts"
"""Where demonstrations of a program go whose instructions are docstrings: a directory beside its file."""
_INDEX = "candidate.json"


@dataclass(frozen=True, slots=True)
class Edit:
    """A file that is to change; None: it is not there before, or not there after."""

    path: Path
    before: bytes | None
    after: bytes | None

    def diff(self) -> str:
        """Return the change as a unified diff."""
        name = self.path.as_posix()
        names = [os.devnull if side is None else name for side in (self.before, self.after)]
        lines = difflib.unified_diff(_lines(self.before), _lines(self.after), names[0], names[1], lineterm="")
        return "".join(f"{line}\n" for line in lines)

    def write(self) -> None:
        """Make the change, whole or not at all."""
        if self.after is None:
            self.path.unlink(missing_ok=True)
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        half = self.path.with_name(f"{self.path.name}.tmp")
        half.write_bytes(self.after)
        if self.before is not None:
            half.chmod(self.path.stat().st_mode)
        os.replace(half, self.path)


@dataclass(frozen=True, slots=True)
class Application:
    """What applying a study would change."""

    decision: str | None
    edits: tuple[Edit, ...]
    notes: tuple[str, ...] = ()


def apply(study: Path, path: Path, *, best: bool = False) -> Application:
    """Return what it takes to put a study's result into a directory, a Python file's docstrings, or a template's file.

    Without ``best``, only an adopted result changes anything. Nothing is written; that is ``Edit.write``.

    Raises:
        ConfigError: there is no study, or ``path`` is neither a directory nor a file to write to.
        CandidateError: a text has changed since the study began, or cannot be rewritten safely; the message names it.
    """
    if not (study / "journal.jsonl").exists():
        raise ConfigError(f"{study} holds no study: there is no journal.jsonl in it")
    found = study_prompts(study, best=best)
    if not best and found.decision != "adopt":
        return Application(found.decision, ())
    if path.is_dir() or (not path.exists() and path.suffix == ""):
        return Application(found.decision, tuple(_into_directory(found, path)))
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    edits, notes = _into_python(found, path) if path.suffix == ".py" else _into_template(found, path)
    return Application(found.decision, tuple(edits), tuple(notes))


def _into_directory(found: StudyPrompts, directory: Path) -> Iterator[Edit]:
    if (directory / _INDEX).exists():
        _refuse_overlaps(found, Candidate.load(directory), directory)
    with tempfile.TemporaryDirectory() as scratch:
        found.candidate.save(scratch)
        made = {file.name: file.read_bytes() for file in sorted(Path(scratch).iterdir())}
    # A predictor without demonstrations any more has no file of them.
    stale = {name.replace(".md", ".demos.jsonl") for name in made if name.endswith(".md")} - set(made)
    for name in sorted({*made, *stale}):
        before = (directory / name).read_bytes() if (directory / name).exists() else None
        if before != made.get(name):
            yield Edit(directory / name, before, made.get(name))


def _refuse_overlaps(found: StudyPrompts, there: Candidate, directory: Path) -> None:
    """Refuse to overwrite what is neither what the study began with nor what it found."""
    original = found.original or Candidate({})
    if Candidate({**original.prompts, **there.prompts}).key in found.starts:
        return
    for name, prompt in sorted(there.prompts.items()):
        known = [side.prompts.get(name) for side in (original, found.candidate)]
        if all(side is None for side in known):
            raise CandidateError(
                f"{directory} has a prompt for {name!r}, which the study does not know: apply it to another directory"
            )
        if not any(
            side is not None and (side.instruction, side.demos) == (prompt.instruction, prompt.demos) for side in known
        ):
            raise CandidateError(
                f"the prompt of {name!r} in {directory} has changed since the study began: it is neither what the "
                "study tuned nor what it found. Apply to another directory and compare (luthier diff), or tune again"
            )
        made_for, now = there.fingerprints.get(name), found.candidate.fingerprints.get(name)
        if made_for is not None and now is not None and made_for != now:
            raise CandidateError(f"the prompt of {name!r} in {directory} is for other fields: {made_for}, not {now}")


def _into_python(found: StudyPrompts, path: Path) -> tuple[list[Edit], list[str]]:
    kinds = {name: prompt.kind for name, prompt in found.candidate.prompts.items()}
    wanted = {name: each for name, each in _texts(found).items() if kinds[name] not in (Kind.REGION, Kind.TOOL)}
    source = path.read_bytes()
    done = rewrite(source, wanted, str(path))
    if not done.found:
        raise CandidateError(f"{path} defines none of the study's predictors: {', '.join(sorted(wanted)) or 'no such'}")
    edits = [] if done.source == source else [Edit(path, source, done.source)]
    return _with_demos(found, path, edits, done.found)


def _into_template(found: StudyPrompts, path: Path) -> tuple[list[Edit], list[str]]:
    from luthier.program.templates.template import Template

    template, source = Template.load(path), path.read_bytes()
    regions = {name: each for name, each in _texts(found).items() if found.candidate.prompts[name].kind is Kind.REGION}
    inside = [f".{region}" for region in template.regions]
    prefixes = {name.removesuffix(end) for name in regions for end in inside if name.endswith(end)}
    called = {prefix for prefix in prefixes if all(f"{prefix}{end}" in regions for end in inside)}
    if template.name not in called:
        # The program may have given it another name than its file's.
        if len(called) != 1:
            raise CandidateError(
                f"{path}: its regions ({', '.join(template.regions)}) are not those of one template of the study, "
                f"which has {', '.join(sorted(regions)) or 'none'}"
            )
        template = Template.load(path, name=called.pop())
    mine = {f"{template.name}.{region.name}": region.text for region in template.regions.values()}
    for name, text in sorted(mine.items()):
        if name in regions and text not in (regions[name].old.strip(), regions[name].new.strip()):
            raise CandidateError(
                f"{path}: the region {name!r} has changed since the study began. It tuned {regions[name].old!r}, and "
                f"here is {text!r}: put the old text back, or tune again"
            )
    after = template.apply(Candidate({name: found.candidate.prompts[name] for name in mine if name in regions}))
    edits = [] if after.encode() == source else [Edit(path, source, after.encode())]
    return _with_demos(found, path, edits, tuple(mine))


def _texts(found: StudyPrompts) -> dict[str, Wanted]:
    """Return, by component, the text that the study began with and the one it found."""
    original = found.original or Candidate({})
    return {
        name: Wanted(original.prompts[name].instruction, prompt.instruction)
        for name, prompt in found.candidate.prompts.items()
        if name in original.prompts and prompt.kind.takes_text
    }


def _with_demos(
    found: StudyPrompts, path: Path, edits: list[Edit], written: tuple[str, ...]
) -> tuple[list[Edit], list[str]]:
    """Add what has no place in the file: demonstrations, and texts that stand elsewhere."""
    missing = [name for name, each in sorted(_texts(found).items()) if name not in written and each.old != each.new]
    notes = [f"not in {path}, so not written: {', '.join(missing)}"] * bool(missing)
    if shown := [name for name, prompt in sorted(found.candidate.prompts.items()) if prompt.demos]:
        directory = path.parent / PROMPTS
        edits = [*edits, *_into_directory(found, directory)]
        notes.append(
            f"demonstrations of {', '.join(shown)} are in {directory}, with the texts: they count where the program "
            f"is bound with lt.Candidate.load({str(directory)!r})"
        )
    return edits, notes


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").removesuffix("\n").split("\n")
