"""``check``: is a program worth tuning?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from luthier.cli import options as o
from luthier.cli.console import emit, say
from luthier.cli.exits import Code, guarded
from luthier.cli.launch import Launch, launched
from luthier.cli.plan import asker, show_plan
from luthier.cli.tuning import default_directory
from luthier.report.figures import count, dollars, percent, plural

if TYPE_CHECKING:
    from luthier.runner.check.check import Check
    from luthier.runner.check.probes import Gain


_OF_STUDIES_ALONE = ("predictor_metric", "optimizer", "auto", "executor")


@guarded
@launched(*(name for name in o.LAUNCH if name not in _OF_STUDIES_ALONE))
def check(
    launch: Launch,
    strong_lm: o.StrongLM = None,
    study_dir: o.StudyOption = None,
    yes: o.Yes = False,
    plan: o.PlanOnly = False,
    quiet: o.Quiet = False,
    as_json: o.AsJson = False,
    debug: o.Debug = False,
) -> None:
    """Look at what tuning could win, for at most 400 LM calls or the budget given; `optimize` pays for none again."""
    import luthier
    from luthier.api import plan_check

    given = launch.arguments()
    what = [given.pop(name) for name in ("program", "data", "metric")]
    of_studies = ("optimizer", "auto", "launch", "predictor_metrics")
    settings = {name: value for name, value in given.items() if name not in of_studies}
    settings["strong_lm"] = None if strong_lm is None else launch.made(strong_lm)
    settings["study_dir"] = study_dir if study_dir is not None else default_directory(launch.program)
    if plan:
        found = plan_check(*what, **settings)
        emit(found) if as_json else show_plan(found, launch.budget())
        return
    confirm = asker(yes=yes, quiet=quiet, budget=launch.budget(), pause=_nothing, resume=_nothing)
    checked = luthier.check(*what, **settings, confirm=confirm)
    if as_json:
        emit(checked.to_json())
    elif not quiet:
        _say(checked)
    raise typer.Exit(Code.UNMEETABLE if checked.unmeetable else Code.KEEP if checked.stop else Code.DONE)


def _nothing() -> None:
    """Nothing is drawn meanwhile."""


def _say(found: Check) -> None:
    say(f"original       {percent(found.mean)} ({percent(found.low)} to {percent(found.high)}) on {found.n} examples")
    if found.noise is not None:
        noise = found.noise
        say(
            f"asked again    {percent(noise.flips)} of scores change ({percent(noise.low)} to {percent(noise.high)}), "
            f"{percent(1 - noise.same_answers)} of answers; standard deviation {noise.sd:.3f}"
        )
    unreadable = ", ".join(f"{name} {percent(share)}" for name, share in found.unparseable.items())
    say(f"not readable   {unreadable or 'none'}")
    for name, gain in (("stronger LM", found.strong), ("demos", found.demos), ("instructions", found.instructions)):
        if gain is not None:
            say(f"{name:<14} {_points(gain)}")
    if found.smallest_detectable is not None:
        say(f"detectable     gains of about {100 * found.smallest_detectable:.0f} points or more")
    for part, why in found.missing.items():
        say(f"not measured   {part}: {why}")
    for warning in found.warnings:
        say(f"! {warning}", style="yellow")
    usd = "" if not found.usd else f", {dollars(found.usd)}"
    say(f"paid           {plural(found.usage.calls, 'LM call')}, {count(found.usage.tokens)} tokens{usd}")
    say(found.sentence, style="bold")


def _points(gain: Gain) -> str:
    interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
    return f"{100 * gain.difference:+.1f} points ({interval}) on {gain.n} examples"
