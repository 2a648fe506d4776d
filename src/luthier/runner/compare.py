"""Prompts, or LMs, against each other on the same examples."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from luthier.budget import Budget
from luthier.errors import ConfigError, StudyPaused
from luthier.evaluation.opening import ExecutorChoice
from luthier.evaluation.ready import Ready, prepare_evaluation
from luthier.evaluation.rollout import Evaluation, Job, by_outcome
from luthier.evaluation.stats import paired
from luthier.lm.store import Store
from luthier.program.candidate import Candidate
from luthier.program.lms import LMChoice, LMs, resolve
from luthier.runner.starts import ORIGINAL, Start, candidate_from

MISSES = 0.05
"""How often one of a comparison's intervals may miss, all of them taken together."""

Standing = Literal["worse", "as good", "cannot tell"]
Change = Literal["better", "worse", "undecided"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One arm against the one it is compared with, paired by example; scores lie in [0, 1]."""

    before: str
    """Name of the arm that is compared with."""
    after: str
    mean_before: float
    mean_after: float
    difference: float
    """``mean_after`` minus ``mean_before``, with its interval ``low`` to ``high`` at ``level``."""
    low: float
    high: float
    level: float
    n: int
    """Examples that both arms have a score on."""
    fixed: tuple[str, ...]
    """Ids of examples that score higher after."""
    broken: tuple[str, ...]
    """Ids of examples that score lower after."""
    tokens_before: float
    """Tokens per LM call."""
    tokens_after: float
    method: str

    @property
    def change(self) -> Change:
        """What the interval says: better where all of it is above zero, worse where all of it is below."""
        return "better" if self.low > 0 else "worse" if self.high < 0 else "undecided"

    def standing(self, tolerance: float) -> Standing:
        """Return whether ``after`` is worse by more than ``tolerance``, as the whole interval says or does not."""
        if self.high < -tolerance:
            return "worse"
        return "as good" if self.low >= -tolerance else "cannot tell"

    @property
    def sentence(self) -> str:
        """The difference in a sentence."""
        interval = f"{100 * self.level:.3g} % interval {100 * self.low:+.1f} to {100 * self.high:+.1f}"
        told = {
            "better": f"{self.after} is better than {self.before}",
            "worse": f"{self.after} is worse than {self.before}",
            "undecided": f"{self.after} and {self.before} cannot be told apart",
        }[self.change]
        return (
            f"{told}: {100 * self.mean_before:.1f} % before, {100 * self.mean_after:.1f} % after on {self.n} examples "
            f"({100 * self.difference:+.1f} points, {interval}); {len(self.fixed)} score higher, {len(self.broken)} "
            f"lower; {self.tokens_before:.0f} tokens a call before, {self.tokens_after:.0f} after."
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Arms, by name, and how they differ."""

    arms: Mapping[str, Evaluation]
    differences: tuple[Difference, ...]
    """Against the first candidate on the same LM; of one candidate on several LMs, against the first LM."""
    shown: Mapping[str, int]
    """By arm: how many of the examples its prompts show with their answers, so that its score flatters."""

    @property
    def sentence(self) -> str:
        """All differences, a sentence each, and what is to be held against them."""
        said = [difference.sentence for difference in self.differences]
        said += [
            f"{count} of these examples are among the demonstrations of {name}: its score flatters."
            for name, count in self.shown.items()
            if count
        ]
        if unscored := sum(arm.unscored for arm in self.arms.values()):
            said.append(f"{unscored} runs got no answer and are left out.")
        return " ".join(said)

    def to_json(self) -> dict[str, Any]:
        """Return the comparison as JSON can hold it."""
        return {
            "arms": {name: _arm_json(arm, self.shown[name]) for name, arm in self.arms.items()},
            "differences": [_difference_json(difference) for difference in self.differences],
            "sentence": self.sentence,
        }

    def __repr__(self) -> str:
        return f"Comparison({self.sentence})"


def prepare_comparison(  # noqa: PLR0913 - the arguments of ``lt.compare``
    program: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    lm: LMChoice | None,
    lms: Mapping[str, LMChoice] | None,
    concurrency: int,
    budget: Budget | None,
    inputs: Sequence[str] | None,
    group: str | None,
    store: Store | str | os.PathLike[str] | None,
    executor: ExecutorChoice,
) -> tuple[dict[str, LMChoice], Ready]:
    """Check everything that a comparison needs, and return its LMs by name; nothing is spent.

    Raises:
        UserError: something cannot be used.
    """
    named = _lms(lm, lms)
    first = next(iter(named.values()))
    ready = prepare_evaluation(program, data, metric, first, concurrency, budget, inputs, _kept(store), executor, group)
    return named, ready


@dataclass(frozen=True, slots=True)
class _Arm:
    """One candidate on one LM."""

    name: str
    candidate: Candidate
    lms: LMs


def _lms(lm: LMChoice | None, lms: Mapping[str, LMChoice] | None) -> dict[str, LMChoice]:
    if (lm is None) == (not lms):
        raise ConfigError("compare takes lm=, who answers, or lms={name: LM, …}, several to compare")
    return {"": lm} if lm is not None else dict(lms or {})


def _kept(store: Store | str | os.PathLike[str] | None) -> Store | str | os.PathLike[str]:
    # What arms have in common, such as the predictors whose prompts are the same, is asked for once.
    return store if store is not None else os.environ.get("LUTHIER_STORE") or ":memory:"


async def compared(
    ready: Ready, named: Mapping[str, LMChoice], candidates: Mapping[str, Start] | None, repeats: int
) -> Comparison:
    """Run every arm on every row, and compare.

    Raises:
        ConfigError: there is nothing to compare.
        StudyPaused: no example got a score from both sides.
        LuthierError: as ``lt.evaluate``.
    """
    arms, pairs = _arms(ready, named, candidates or {ORIGINAL: ORIGINAL})
    if repeats < 1:
        raise ConfigError(f"repeats={repeats}: every example must run at least once")
    ids = [row.id for row in ready.rows]
    found: dict[str, Evaluation] = {}
    for arm in arms:
        jobs = [Job(arm.candidate, id, repeat) for id in ids for repeat in range(repeats)]
        found[arm.name] = Evaluation(arm.candidate, tuple(await ready.evaluator.rollouts(jobs, lm=arm.lms)))
    groups = {row.id: row.group for row in ready.rows if row.group}
    level = 1 - MISSES / len(pairs)
    return Comparison(
        found,
        tuple(_difference(before, after, found, groups, level) for before, after in pairs),
        {arm.name: _shown(arm.candidate, ids) for arm in arms},
    )


def _arms(
    ready: Ready, named: Mapping[str, LMChoice], candidates: Mapping[str, Start]
) -> tuple[list[_Arm], list[tuple[str, str]]]:
    """Return the arms, and the names of those to be compared, the one compared with first."""
    program, gateway = ready.evaluator.program, ready.gateway
    made = {name: candidate_from(given, program) for name, given in candidates.items()}
    lms = {name: resolve(choice, program.predictors) for name, choice in named.items()}
    for each in lms.values():
        each.check(dollars=gateway.counts_dollars, tokens=gateway.counts_tokens)
    arms, name_of = [], {}
    for candidate, lm in product(made, lms):
        name = candidate if len(lms) == 1 else lm if len(made) == 1 else f"{candidate} on {lm}"
        name_of[candidate, lm] = name
        arms.append(_Arm(name, made[candidate], lms[lm]))
    first, *others = made
    pairs = [(name_of[first, lm], name_of[other, lm]) for lm in lms for other in others]
    if not others:
        one, *rest = lms
        pairs = [(name_of[first, one], name_of[first, lm]) for lm in rest]
    if not pairs:
        raise ConfigError("nothing to compare: give two candidates={name: prompts, …}, or two lms={name: LM, …}")
    return arms, pairs


def _difference(
    before: str, after: str, arms: Mapping[str, Evaluation], groups: Mapping[str, str], level: float
) -> Difference:
    one, other = arms[before].scores, arms[after].scores
    both = one.keys() & other.keys()
    if not both:
        raise StudyPaused(f"no example got an answer from both {before} and {after}; nothing can be compared")
    found = paired(one, other, level=level, groups=groups or None)
    return Difference(
        before=before,
        after=after,
        mean_before=sum(one[id] for id in both) / len(both),
        mean_after=sum(other[id] for id in both) / len(both),
        difference=found.difference,
        low=found.low,
        high=found.high,
        level=level,
        n=found.n,
        fixed=found.fixed,
        broken=found.broken,
        tokens_before=_tokens_a_call(arms[before]),
        tokens_after=_tokens_a_call(arms[after]),
        method=found.method,
    )


def _tokens_a_call(arm: Evaluation) -> float:
    usage = arm.usage
    return usage.tokens / usage.calls if usage.calls else 0.0


def _shown(candidate: Candidate, ids: Sequence[str]) -> int:
    demos = (demo for prompt in candidate.prompts.values() for demo in prompt.demos)
    return len({demo.provenance.example for demo in demos if demo.provenance is not None} & set(ids))


def _arm_json(arm: Evaluation, shown: int) -> dict[str, Any]:
    return {
        "mean": arm.mean,
        "stderr": arm.stderr,
        "n": arm.n,
        "outcomes": by_outcome(arm.rollouts),
        "usage": arm.usage,
        "usage_by_lm": arm.usage_by_lm,
        "shown": shown,
    }


def _difference_json(found: Difference) -> dict[str, Any]:
    fields = {name: getattr(found, name) for name in Difference.__dataclass_fields__}
    return {**fields, "fixed": list(found.fixed), "broken": list(found.broken), "change": found.change}
