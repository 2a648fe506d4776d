"""Everything a study needs, resolved from the user's arguments before anything is spent."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from luthier.budget import Budget
from luthier.canonical import content_hash
from luthier.errors import ConfigError
from luthier.evaluation.data import Row
from luthier.evaluation.labels import LabelCheck, check_labels
from luthier.evaluation.metrics import Metric
from luthier.evaluation.opening import ExecutorChoice
from luthier.evaluation.predictor_metrics import has_labels, metrics_by_predictor
from luthier.evaluation.splits import Split, split
from luthier.lm.lm import LM
from luthier.optimizers.manifest import manifest
from luthier.optimizers.optimizer import Auto, Facts, Optimizer
from luthier.optimizers.own_calls import with_own_lms
from luthier.optimizers.plan import ANSWER_TOKENS, CHARACTERS_PER_TOKEN, RolloutCost, blended_price, study_plan
from luthier.optimizers.registry import optimizer_named
from luthier.optimizers.shape import EVALUATIONS, EVALUATIONS_WITHOUT_VERDICT, auto_for, evaluations_in, room_for_demos
from luthier.optimizers.starts import Start, starting_from, without_shown
from luthier.optimizers.surrogate import SurrogateSettings
from luthier.optimizers.verdict import NONE_HELD_OUT
from luthier.program.body import reads_demos
from luthier.program.candidate import Candidate
from luthier.program.lms import LMChoice, LMs, resolve
from luthier.program.program import Program, Tunable, discover
from luthier.program.render import text
from luthier.program.signature import Form
from luthier.study.looks import CountedLook, LookCounter, looks_file

PAPER_FULL_EVALUATIONS = 30
"""T of a middling task, for paper presets where neither budget nor ``auto`` says otherwise (paper Table 4)."""
_OWN_CALLS = "own calls ({}) are counted, and capped by budgets, where their client is connected (lt.connect)"
_BLIND = (
    "of its prompt only the instruction is read ({}), so demos would change nothing: add lt.prompt().demo_messages() "
    "to the messages, or search instructions alone (optimizer='mipro0')"
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The plain settings of a study, as the user gave them."""

    auto: Auto | int | None = None
    """A preset, or the search's program runs, the paper's unit of a budget."""
    budget: Budget | None = None
    study_dir: Path | None = None
    seed: int = 0
    split_seed: int = 0
    sizes: tuple[int, int, int] | None = None
    concurrency: int = 64
    inputs: Sequence[str] | None = None
    group: str | None = None
    launch: Mapping[str, Any] | None = None
    """How the command line started the study; what ``luthier resume`` starts again."""
    start: Sequence[Start] = ()
    """What is deployed today, then other prompts to be tried first."""
    store: Path | None = None
    """A store shared with other studies; None: the study's own."""
    looks: Path | None = None
    """Where looks at test examples are counted; None: the user's own file. It is no part of the manifest."""
    anyway: bool = False
    """Search although the baseline leaves nothing to win."""
    code_changed: bool = False
    """Continue although the program's or the metric's code is another now."""
    executor: ExecutorChoice = None
    """Where the program runs; it decides nothing, so it is no part of the manifest."""


@dataclass(frozen=True, slots=True)
class Setup:
    """A study, ready to run."""

    program: Program
    metric: Metric
    predictor_metrics: Mapping[str, Metric]
    """By predictor: a metric of its own answer."""
    split: Split
    task: LMs
    """Who answers which predictor."""
    teacher: LMs
    """The same, or one LM that answers every predictor while demos are made."""
    proposer: LM
    optimizer: Optimizer
    settings: Settings
    starts: tuple[Candidate, ...]
    """Prompts to be tried first, apart from those deployed."""
    moved: int
    """Rows that prompts to start from show as demos, and that are therefore learnt from only."""
    labels: LabelCheck
    """Which labels no answer can match."""
    predictors_given: bool
    """Whether the user named the components to tune; then no other is."""
    study_dir: Path
    manifest: Mapping[str, Any]

    @property
    def study_id(self) -> str:
        """Names the study in the store; the budget may be raised without making it another one."""
        changing = ("budget", "versions", "launch", "code")
        return content_hash({name: value for name, value in self.manifest.items() if name not in changing})

    @property
    def scoring(self) -> tuple[Row, ...]:
        """The rows candidates are compared on."""
        return self.training if self.optimizer.scores_on_train else self.split.val

    @property
    def training(self) -> tuple[Row, ...]:
        """The rows demos come from; paper presets know only one set for both."""
        return self.split.train + self.split.val if self.optimizer.scores_on_train else self.split.train

    @property
    def looks(self) -> LookCounter:
        """Who counts the looks at the test examples: the user's own file, and a store shared with other studies."""
        own, shared = self.settings.looks, self.settings.store
        return LookCounter((looks_file() if own is None else own, *([] if shared is None else [shared])))

    def next_look(self) -> CountedLook:
        """Return which look at its test examples this study would be now."""
        if not self.split.test:
            return CountedLook(1)
        return self.looks.next_look([row.id for row in self.split.test], self.study_id)

    @property
    def concurrency(self) -> int:
        """Rollouts in flight: on an embedded LM one, unless its ``max_in_flight`` says otherwise."""
        most, given = self.task.max_abreast, self.settings.concurrency
        return given if most is None else min(most, given)

    def facts(self, cost: RolloutCost) -> Facts:
        """Return what the optimizer decides its numbers by."""
        scoring, given = len(self.scoring), self.settings.auto
        auto = given if isinstance(given, str) else None
        least = Facts(
            n_train=len(self.training),
            n_val=scoring,
            n_test=len(self.split.test),
            n_predictors=len(self.program.tuned),
            auto=auto or "light",
            evaluations=2 * scoring,
            largest_demo_set=room_for_demos(
                cost.prompt_tokens * CHARACTERS_PER_TOKEN / max(cost.calls, 1.0), self.task.profile
            )
            if any(component.kind.takes_demos for component in self.program.tuned)
            else 0,
            sequential=self.task.is_local,
            starts=len(self.starts),
            task=self.task.profile,
            proposer=self.proposer.profile,
            labelled=has_labels(self.predictor_metrics, self.program, self.split.rows),
        )
        before = self.optimizer.plan(least)
        room = evaluations_in(
            self.settings.budget,
            cost,
            self.task.price,
            fixed_rollouts=(1 + least.starts) * scoring + before.bootstrap_rollouts + 2 * least.n_test,
            proposer_calls=before.proposer_calls,
        )
        if isinstance(given, int):
            wanted = given
        elif auto is not None:
            wanted = EVALUATIONS[auto]
        elif self.optimizer.scores_on_train:
            wanted = PAPER_FULL_EVALUATIONS * scoring
        elif not self.split.test:
            wanted = EVALUATIONS_WITHOUT_VERDICT
        else:
            wanted = max(EVALUATIONS["light" if math.isinf(room) else "heavy"], 3 * scoring)
        evaluations = max(int(min(room, wanted)), least.evaluations)
        return replace(least, evaluations=evaluations, auto=auto or auto_for(evaluations))

    def guessed_cost(self) -> RolloutCost:
        """Guess a program run's cost: every predictor once, its prompt with an average row's text."""
        rows = self.scoring[:20]
        characters = sum(sum(len(str(value)) for value in row.inputs.values()) for row in rows) / max(1, len(rows))
        n = max(1, len(self.program.predictors))  # texts alone: their program makes its own call
        row_tokens, written = n * characters / CHARACTERS_PER_TOKEN, ANSWER_TOKENS * n
        return RolloutCost(
            calls=n,
            prompt_tokens=self._constant_tokens() + row_tokens,
            completion_tokens=written,
            demo_tokens=row_tokens + written,
        )

    def measured_cost(self, baseline: Mapping[str, Any]) -> RolloutCost:
        """Return a program run's mean cost as the baseline event measured it.

        It is read from the journal, never from the clock of this run, so that a resumed study decides the same.
        """
        outcomes, judge = baseline["outcomes"], baseline["judge"]
        n = len(outcomes)
        calls, prompt, written = (
            sum(outcome["cost"][name] for outcome in outcomes) / n
            for name in ("lm_calls", "prompt_tokens", "completion_tokens")
        )
        constant = self._constant_tokens() * calls / max(1, len(self.program.predictors))
        return RolloutCost(
            calls=calls,
            prompt_tokens=prompt,
            completion_tokens=written,
            seconds=sum(outcome["seconds"] for outcome in outcomes) / n / min(n, self.concurrency),
            measured=True,
            demo_tokens=max(0.0, prompt - constant) + written,
            judging=(judge["lm_calls"] / n, judge["prompt_tokens"] / n, judge["completion_tokens"] / n),
            judge_price=(self.metric.judge_lm or self.task.default).price,
            price=blended_price(outcomes, self.task),
        )

    def plan(self, facts: Facts, cost: RolloutCost) -> dict[str, Any]:
        """Return the plan event."""
        search = self.optimizer.plan(facts)
        columns = {name: self.manifest["data"][name] for name in ("inputs", "labels")}
        plan = study_plan(
            facts,
            search,
            cost,
            task=self.task,
            teacher=self.teacher,
            proposer=self.proposer,
            judge=self.metric.judge_lm,
            look=self.next_look(),
        )
        if not self.split.test:
            plan["notes"].append(self._no_verdict(facts))
        if self.moved:
            plan["notes"].append(
                f"{self.moved} examples are learnt from only, since prompts to start from show them with their answers"
            )
        if self.optimizer.scores_on_train:
            plan["notes"].append(
                f"as in the paper, candidates are compared on the {facts.n_val} examples that demos come from: what "
                "is told of validation examples is told of these, and flatters; the verdict is not"
            )
        if self.manifest.get("predictor_metrics") and not getattr(self.optimizer, "uses_predictor_metrics", False):
            plan["notes"].append(f"{self.optimizer.name} does not use predictor_metrics; reflect does")
        own = [predictor.name for predictor in self.program.predictors if predictor.makes_own_call]
        notes = [*plan["notes"], *self.labels.warnings, *([_OWN_CALLS.format(", ".join(own))] if own else [])]
        blind = [p.name for p in self.program.predictors if p.makes_own_call and not reads_demos(p.function)]
        notes += [_BLIND.format(", ".join(blind))] if blind else []
        return {**plan, **columns, "notes": notes}

    def _no_verdict(self, facts: Facts) -> str:
        why = f"{NONE_HELD_OUT}, so no verdict is possible"
        if self.settings.auto is not None or self.optimizer.scores_on_train:
            return f"{why}."
        return (
            f"{why}, and the search takes {facts.evaluations} program runs instead of {EVALUATIONS['light']} or more "
            "(auto= decides otherwise)."
        )

    def with_program(self, program: Program, own_lms: Mapping[str, Any]) -> Setup:
        """Return the setup for the predictors and own calls that the baseline showed to be the program's."""
        return replace(self, program=program, task=with_own_lms(self.task, own_lms))

    def _constant_tokens(self) -> float:
        """Estimate the tokens of all prompts apart from their inputs."""
        characters = sum(len(text.text) for text in self.program.texts)
        today = self.program.original.prompts
        for predictor in self.program.predictors:
            empty = {field.name: "" for field in predictor.signature.inputs if field.form is Form.TEXT}
            if predictor.template is not None:
                characters += predictor.template.length
            if predictor.name in today:
                characters += len(text(predictor.signature, today[predictor.name], empty))
        return characters / CHARACTERS_PER_TOKEN


def prepare(  # noqa: PLR0913 - what the user gave
    function: Callable[..., Any],
    data: Any,
    metric: Callable[..., Any],
    *,
    lms: Mapping[str, LMChoice | None],
    optimizer: str | Optimizer,
    predictors: Sequence[Tunable] | None,
    settings: Settings,
    predictor_metrics: Mapping[str, Callable[..., Any]] = MappingProxyType({}),
) -> Setup:
    """Resolve and check everything; nothing is called and nothing is written.

    Raises:
        UserError: something is wrong; the message says what, where, and what to do.
    """
    program, starts = starting_from(settings.start, discover(function, predictors))
    checked = Metric.of(metric)
    recipe = optimizer_named(optimizer)
    rows = split(
        data,
        program,
        inputs=settings.inputs,
        group=settings.group,
        split_seed=settings.split_seed,
        sizes=settings.sizes,
    )
    rows, moved = without_shown(rows, (program.original, *starts) if settings.start else ())
    limits = {} if settings.budget is None else settings.budget.limits
    dollars, tokens = "usd" in limits, "tokens" in limits
    checked.check(rows.val[0].example, dollars=dollars, tokens=tokens)
    of_predictors = metrics_by_predictor(predictor_metrics, program, rows.rows)
    for of_predictor in of_predictors.values():
        of_predictor.check(rows.val[0].example, dollars=dollars, tokens=tokens)
    labels = check_labels(checked, program, list(rows.rows.values()))
    task, teacher, proposer = _lms(lms, program)
    for lm in (task, teacher, proposer):
        lm.check(dollars=dollars, tokens=tokens)
    check_auto(settings.auto, recipe, len(rows.train), len(rows.val))
    _check_variables(recipe, program, starts)
    if settings.concurrency < 1:
        raise ConfigError(f"concurrency={settings.concurrency}: must be at least 1")
    plain = {
        "auto": settings.auto,
        "seed": settings.seed,
        "split_seed": settings.split_seed,
        "concurrency": settings.concurrency,
        "group": settings.group,
        **({"start": _start(program, starts)} if settings.start else {}),
        "launch": None if settings.launch is None else dict(settings.launch),
    }
    return Setup(
        program=program,
        metric=checked,
        predictor_metrics=of_predictors,
        split=rows,
        task=task,
        teacher=teacher,
        proposer=proposer,
        optimizer=recipe,
        settings=settings,
        starts=starts,
        moved=moved,
        labels=labels,
        predictors_given=predictors is not None,
        study_dir=settings.study_dir if settings.study_dir is not None else _default_directory(program),
        manifest=manifest(
            program=program,
            metric=checked,
            predictor_metrics={name: of_predictors[name] for name in predictor_metrics},
            split=rows,
            lms={"task": task, "teacher": teacher, "proposer": LMs(proposer)},
            optimizer=recipe,
            budget=settings.budget,
            settings=plain,
        ),
    )


def _start(program: Program, starts: Sequence[Candidate]) -> dict[str, Any]:
    deployed = None if program.deployed is None else program.deployed.key
    return {"deployed": deployed, "tried": [start.key for start in starts]}


def _lms(lms: Mapping[str, LMChoice | None], program: Program) -> tuple[LMs, LMs, LM]:
    given, teacher, proposer = lms.get("task"), lms.get("teacher"), lms.get("proposer")
    if given is None:
        raise ConfigError("no LM: pass lm=lt.LM('openai/…'), lm=lt.LM('local/…'), or a callable")
    for name, lm in (("teacher_lm", teacher), ("proposer_lm", proposer)):
        if isinstance(lm, Mapping):
            raise ConfigError(f"{name}= is one LM: it answers whichever predictor asks; a mapping is for lm=")
    task = resolve(given, program.predictors)
    return (
        task,
        task if teacher is None else resolve(teacher, program.predictors, alone=True),
        task.default if proposer is None else resolve(proposer, program.predictors).default,
    )


def check_auto(auto: Auto | int | None, optimizer: Optimizer, train: int, val: int) -> None:
    """Refuse a search that could not score one candidate beside the original on so many examples.

    Raises:
        ConfigError: it is too small, or no size of a search.
    """
    scoring = train + val if optimizer.scores_on_train else val
    if auto is None or auto in EVALUATIONS:
        return
    if isinstance(auto, (str, bool)) or not isinstance(auto, int):
        raise ConfigError(f"auto={auto!r}: must be one of {', '.join(EVALUATIONS)}, a number of program runs, or None")
    if auto < 2 * scoring:
        raise ConfigError(
            f"auto={auto}: a search on {scoring} examples takes two full evaluations at least, {2 * scoring} runs"
        )


def _check_variables(optimizer: Optimizer, program: Program, starts: Sequence[Candidate]) -> None:
    """Refuse what leaves an optimizer nothing to choose, before it spends anything; prompts to start from are some."""
    kinds = {name: prompt.kind for name, prompt in sorted(program.original.prompts.items())}
    known = [f"{name}.{part}" for name in kinds for part in ("instruction", "demos")]
    frozen = optimizer.frozen if isinstance(optimizer, SurrogateSettings) else ()
    if unknown := [name for name in frozen if name not in known]:
        raise ConfigError(
            f"frozen: there is no variable {unknown[0]!r}; there are {', '.join(known)}; those of a predictor met only "
            "at run time need predictors=[...]"
        )
    texts, demos = (getattr(optimizer, f"tunes_{part}", True) for part in ("instructions", "demos"))
    tuned = {f"{name}.instruction" for name, kind in kinds.items() if texts and kind.takes_text}
    tuned |= {f"{name}.demos" for name, kind in kinds.items() if demos and kind.takes_demos}
    if not (starts or tuned - set(frozen)):
        raise ConfigError(
            f"{optimizer.name} has nothing to search over: of {', '.join(kinds)}, it tunes "
            f"{' and '.join(sorted(tuned)) or 'nothing (texts of templates and tools take no demos)'}"
            f"{', which is frozen' if tuned else ''}"
        )


def _default_directory(program: Program) -> Path:
    return Path("runs") / re.sub(r"[^\w.-]+", "-", program.name.rpartition(":")[2])
