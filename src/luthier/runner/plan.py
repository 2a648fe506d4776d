"""What a study will do and cost: shown before the first paid call, and again after the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from luthier.budget import Budget
from luthier.evaluation.stats import look_level, smallest_detectable
from luthier.lm.lm import LM, Price
from luthier.program.lms import LMs
from luthier.runner.facts import Facts, SearchPlan
from luthier.runner.verdict import level_text, what_can_be_detected
from luthier.search.schedule import paper_trials
from luthier.study.looks import CountedLook

CHARACTERS_PER_TOKEN = 4.0
ANSWER_TOKENS = 30.0
PROPOSER_PROMPT_TOKENS = 900.0
PROPOSER_ANSWER_TOKENS = 150.0


@dataclass(frozen=True, slots=True)
class RolloutCost:
    """What one program run takes, guessed from rendered prompts or measured on the baseline."""

    calls: float
    prompt_tokens: float
    completion_tokens: float
    seconds: float | None = None
    """Wall-clock seconds of a run divided by how many run at once; None while not measured."""
    measured: bool = False
    demo_tokens: float = 0.0
    """Tokens that one more demo for every call adds to a run's prompts."""
    judging: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Calls, prompt tokens, and completion tokens of the judge in the metric."""
    judge_price: Price | None = None
    """Of the judge's LM."""
    price: Price | None = None
    """What a token really costs where several LMs answer; None: whatever the LM costs that runs it."""

    def with_demos(self, count: float) -> RolloutCost:
        """Return what a run costs when every prompt has so many demos."""
        return replace(self, prompt_tokens=self.prompt_tokens + count * self.demo_tokens)

    def amounts(self, price: Price | None) -> dict[str, float]:
        """Return the cost by the names that a budget's limits have."""
        calls, read, written = self.judging
        tokens = read + written + self.prompt_tokens + self.completion_tokens
        amounts = {"lm_calls": calls + self.calls, "tokens": tokens}
        if price is not None:
            judged = (self.judge_price or price).usd(read, written)
            amounts["usd"] = (self.price or price).usd(self.prompt_tokens, self.completion_tokens) + judged
        if self.seconds is not None:
            amounts["seconds"] = self.seconds
        return amounts


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase's program runs and LM calls, with what they cost."""

    name: str
    rollouts: int
    calls: float
    tokens: float
    usd: float | None
    seconds: float | None

    def to_json(self) -> dict[str, Any]:
        """Return the phase as JSON."""
        return {
            "name": self.name,
            "rollouts": self.rollouts,
            "calls": round(self.calls),
            "tokens": round(self.tokens),
            "usd": None if self.usd is None else round(self.usd, 4),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
        }


def study_plan(  # noqa: PLR0913 - everyone who answers is named
    facts: Facts,
    search: SearchPlan,
    cost: RolloutCost,
    *,
    task: LMs,
    teacher: LMs,
    proposer: LM,
    judge: LM | None,
    look: CountedLook,
) -> dict[str, Any]:
    """Return the plan event: program runs, calls, tokens, dollars, and seconds by phase.

    Program runs are what the study makes at most, and candidates are taken to have as many demos as any may have;
    rollouts that share a request pay for it once, so the bill is usually lower. ``look`` is which look at its test
    examples the study's verdict will be.
    """
    tuned = cost.with_demos(search.largest_demo_set)
    swapped_on = min(facts.n_val, facts.n_test or facts.n_val)
    runs = [
        ("baseline", facts.n_val, cost, task),
        ("bootstrap", search.bootstrap_rollouts, replace(cost, price=None) if teacher.alone else cost, teacher),
        ("starts", facts.starts * facts.n_val, tuned, task),
        ("search", search.search_rollouts, tuned, task),
        ("full evaluations", search.closing_rollouts, tuned, task),
        ("verdict", 2 * facts.n_test, cost.with_demos(search.largest_demo_set / 2), task),
        ("insight", facts.n_predictors * swapped_on if facts.n_predictors > 1 else 0, tuned, task),
    ]
    phases = [rollout_phase(name, rollouts, each, lm.price) for name, rollouts, each, lm in runs if rollouts]
    if search.proposer_calls:
        phases.insert(min(2, len(phases)), proposer_phase(search.proposer_calls, proposer.price))
    lms = (*task.all, *teacher.all, proposer, *(() if judge is None else (judge,)))
    hosts = sorted({host for lm in lms if (host := lm.leaves_machine) is not None})
    return {
        "phases": [phase.to_json() for phase in phases],
        "total": total_phase(phases).to_json(),
        "measured": cost.measured,
        "leaves_machine": hosts,
        **detection(facts.n_test, look),
        "paper_unit": paper_unit(facts, search),
        "trials": facts.starts + search.trials,
        "surrogate_trials": search.surrogate_trials,
        "splits": {"train": facts.n_train, "val": facts.n_val, "test": facts.n_test},
        "notes": [*notes_on_verdict(facts.n_test, look), *search.notes, *_notes_on_lms(task, cost)],
    }


def detection(n_test: int, look: CountedLook) -> dict[str, Any]:
    """Return the plan's ``look``, ``level``, and ``smallest_detectable``: what its test examples can show."""
    level = look_level(look.number)
    gain = smallest_detectable(n_test, level=level)
    return {"look": look.number, "level": level, "smallest_detectable": None if gain is None else round(gain, 4)}


def notes_on_verdict(n_test: int, look: CountedLook) -> list[str]:
    """Return what to know of the verdict before money is spent."""
    if not n_test:
        return []
    level, earlier = look_level(look.number), look.number - 1
    notes = [f"{what_can_be_detected(n_test, level)}."]
    if earlier:
        studies = "1 earlier study" if earlier == 1 else f"{earlier} earlier studies"
        notes.append(
            f"{studies} looked at these held-out examples, so the verdict takes a {level_text(level)} interval; new "
            "examples start again at 95 %."
        )
    return [*notes, *look.warnings]


def paper_unit(facts: Facts, search: SearchPlan) -> dict[str, float]:
    """Return the search's budget as the paper counts it: baseline, demos, proposals, and verdict come on top.

    ``full_evaluations`` is T, program runs divided by the examples that candidates are compared on;
    ``minibatch_trials`` is T_mb, what the paper's schedule (B = 25, S = 10) makes of it (MIPRO B.2, its release).
    """
    runs = search.search_rollouts + search.closing_rollouts
    full = runs / facts.n_val
    return {
        "program_runs": runs,
        "examples": facts.n_val,
        "full_evaluations": round(full, 2),
        "minibatch_trials": paper_trials(full, facts.n_val, min(25, facts.n_val), 10),
    }


def refusal(facts: Facts, cost: RolloutCost, price: Price | None, budget: Budget | None) -> str | None:
    """Return why a budget cannot even pay for baseline, one full evaluation, and verdict; None where it can."""
    if budget is None:
        return None
    least = (2 + facts.starts) * facts.n_val + 2 * facts.n_test
    for name, limit in asdict(budget).items():
        needed = least * cost.amounts(price).get(name, 0.0)
        if limit is not None and needed > limit:
            unit = {"lm_calls": "LM calls", "usd": "dollars"}.get(name, name)
            return (
                f"the budget of {limit:,.6g} {unit} cannot pay for the original, one candidate, and the verdict: "
                f"{least} program runs need about {needed:,.6g} {unit}. Raise the budget, or give fewer examples."
            )
    return None


def blended_price(bills: Iterable[Mapping[str, Mapping[str, float]]], lms: LMs) -> Price | None:
    """Return what a token cost on average over these bills by LM; None where one LM answers, or a price is unknown."""
    if not lms.mixed or lms.price is None:
        return None
    prices = {lm.identity: lm.price or Price(0.0, 0.0) for lm in lms.all}
    read = written = read_usd = written_usd = 0.0
    for by_lm in bills:
        for identity, bill in by_lm.items():
            price = prices.get(identity, lms.price)
            read, written = read + bill["prompt_tokens"], written + bill["completion_tokens"]
            read_usd += price.input * bill["prompt_tokens"]
            written_usd += price.output * bill["completion_tokens"]
    return Price(read_usd / read if read else lms.price.input, written_usd / written if written else lms.price.output)


def _notes_on_lms(task: LMs, cost: RolloutCost) -> list[str]:
    if not task.mixed:
        return []
    told = "; ".join(f"{name} by {lm.name}" for name, lm in sorted(task.by_name.items()))
    priced = "" if cost.measured or task.price is None else "; until that is measured, all at the highest price"
    return [f"predictors are answered {told}{priced}"]


def rollout_phase(name: str, rollouts: int, cost: RolloutCost, price: Price | None) -> Phase:
    """Return a phase of so many program runs."""
    amounts = {name: rollouts * amount for name, amount in cost.amounts(price).items()}
    return Phase(name, rollouts, amounts["lm_calls"], amounts["tokens"], amounts.get("usd"), amounts.get("seconds"))


def proposer_phase(calls: int, price: Price | None) -> Phase:
    """Return the phase of so many calls of the proposer."""
    prompt, completion = calls * PROPOSER_PROMPT_TOKENS, calls * PROPOSER_ANSWER_TOKENS
    usd = None if price is None else price.usd(prompt, completion)
    return Phase("proposals", 0, calls, prompt + completion, usd, None)


def total_phase(phases: Sequence[Phase]) -> Phase:
    """Return the sum of phases; what is not known of one is not known of all."""
    known_usd = [phase.usd for phase in phases if phase.usd is not None]
    known_seconds = [phase.seconds for phase in phases if phase.seconds is not None]
    return Phase(
        "total",
        sum(phase.rollouts for phase in phases),
        sum(phase.calls for phase in phases),
        sum(phase.tokens for phase in phases),
        sum(known_usd) if len(known_usd) == len(phases) else None,
        sum(known_seconds) if known_seconds else None,
    )
