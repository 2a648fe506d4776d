"""How much a check looks at, what that costs at most, and the plan that says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from luthier.budget import Budget
from luthier.errors import ConfigError
from luthier.lm.lm import LM
from luthier.propose.grounding import GroundingSettings
from luthier.runner.config import Setup
from luthier.runner.plan import Phase, detection, notes_on_verdict, proposer_phase, rollout_phase, total_phase
from luthier.runner.verdict import NONE_HELD_OUT

DEFAULT = Budget(lm_calls=400)
"""What a check may cost where nobody says so."""
GROUNDING = GroundingSettings(dataset_summary=False, roles=False, traces=False, tries=2)
"""What the proposer of the one instruction per predictor is shown: the program, which takes one call."""
DEMOS = 8
"""Demonstrations of the few-shot probe."""

_BASELINE, _PROBE, _TRAIN = 100, 30, 16
_LEAST = 10
_ROOM = 0.8
"""Of the limits: costs are guessed here, and bills differ."""


@dataclass(frozen=True, slots=True)
class Look:
    """Numbers of examples."""

    baseline: int
    """The original runs on so many validation examples."""
    probe: int
    """Of these, so many are asked again, with a stronger LM, with demos, and with new instructions."""
    train: int
    """Training examples that demos are made from."""


def look_for(setup: Setup, strong: LM | None, budget: Budget) -> Look:
    """Return the largest look that fits the budget.

    Raises:
        ConfigError: not even the smallest does.
    """
    for share in (1.0, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2, 0.15, 0.1):
        look = _scaled(setup, share)
        if _fits(phases(setup, strong, look), budget):
            return look
    needed = total_phase(phases(setup, strong, look)).to_json()
    raise ConfigError(
        f"the cap of {_shown(budget)} cannot pay for a look at {look.baseline} examples, which takes about "
        f"{needed['calls']} LM calls and {needed['tokens']} tokens; give a larger budget="
    )


def phases(setup: Setup, strong: LM | None, look: Look) -> list[Phase]:
    """Return what a look does, phase by phase."""
    cost = setup.guessed_cost()
    shown = cost.with_demos(min(DEMOS, look.train))
    task = setup.task.price
    found = [
        rollout_phase("baseline", look.baseline, cost, task),
        rollout_phase("asked again", look.probe, cost, task),
        *([] if strong is None else [rollout_phase("stronger LM", look.probe, cost, strong.price)]),
        rollout_phase("demos made", look.train, cost, setup.teacher.price),
        rollout_phase("demos tried", look.probe, shown, task),
        proposer_phase(_proposer_calls(setup), setup.proposer.price),
        rollout_phase("instructions tried", look.probe, cost, task),
    ]
    return [phase for phase in found if phase.rollouts or phase.calls]


def plan_of(setup: Setup, strong: LM | None, look: Look, budget: Budget) -> dict[str, Any]:
    """Return the plan, in the form that studies have theirs."""
    parts, n_test, next_look = phases(setup, strong, look), len(setup.split.test), setup.next_look()
    lms = (*setup.task.all, *setup.teacher.all, setup.proposer, *([] if strong is None else [strong]))
    hosts = sorted({host for lm in lms if (host := lm.leaves_machine) is not None})
    return {
        "phases": [phase.to_json() for phase in parts],
        "total": total_phase(parts).to_json(),
        "measured": False,
        "leaves_machine": hosts,
        **detection(n_test, next_look),
        "splits": {"train": len(setup.training), "val": len(setup.scoring), "test": n_test},
        "cap": asdict(budget),
        "notes": [
            *(notes_on_verdict(n_test, next_look) if n_test else [f"{NONE_HELD_OUT}, so no verdict is possible."]),
            f"It ends at {_shown(budget)}, whatever is still to do; a study of the same program pays for none again.",
        ],
    }


def _scaled(setup: Setup, share: float) -> Look:
    baseline = min(len(setup.scoring), max(_LEAST, round(share * _BASELINE)))
    probe = min(baseline, max(_LEAST, round(share * _PROBE)))
    return Look(baseline, probe, min(len(setup.training), max(DEMOS, round(share * _TRAIN))))


def _fits(parts: list[Phase], budget: Budget) -> bool:
    whole = total_phase(parts)
    needed: Mapping[str, float | None] = {
        "lm_calls": whole.calls,
        "tokens": whole.tokens,
        "usd": whole.usd,
        "seconds": whole.seconds,
    }
    limits = {name: limit for name, limit in asdict(budget).items() if limit is not None}
    return all((needed.get(name) or 0.0) <= _ROOM * limit for name, limit in limits.items())


def _proposer_calls(setup: Setup) -> int:
    return GROUNDING.most_calls(len(setup.training), len(setup.program.tuned), 2)


def _shown(budget: Budget) -> str:
    words = {"usd": "dollars", "lm_calls": "LM calls", "tokens": "tokens", "seconds": "seconds"}
    return ", ".join(f"{limit:g} {words[name]}" for name, limit in asdict(budget).items() if limit is not None)
