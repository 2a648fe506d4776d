"""Everything a study needs, resolved from the user's arguments before anything is spent."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
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
from luthier.program.body import reads_demos
from luthier.program.candidate import Candidate
from luthier.program.lms import LMChoice, LMs, resolve
from luthier.program.program import Program, Tunable, discover
from luthier.program.render import text
from luthier.program.signature import Form
from luthier.runner.facts import Auto, Facts
from luthier.runner.manifest import manifest
from luthier.runner.optimizer import Optimizer
from luthier.runner.own_calls import with_own_lms
from luthier.runner.plan import ANSWER_TOKENS, CHARACTERS_PER_TOKEN, RolloutCost, blended_price, study_plan
from luthier.runner.sizes import EVALUATIONS, EVALUATIONS_WITHOUT_VERDICT, auto_for, evaluations_in, room_for_demos
from luthier.runner.starts import Start, starting_from, without_shown
from luthier.runner.verdict import NONE_HELD_OUT
from luthier.study.events import BaselineEvent
from luthier.study.looks import CountedLook, LookCounter, looks_file

PAPER_FULL_EVALUATIONS = 30
"""T of a middling task, for paper presets where neither budget nor ``auto`` says otherwise (paper Table 4)."""
_OWN_CALLS = "own calls ({}) are counted, and capped by budgets, where their client is connected (lt.connect)"
_BLIND = (
    "of its prompt only the instruction is read ({}), so demos would change nothing: add lt.prompt().demo_messages() "
    "to the messages, or search instructions alone (optimizer='mipro0')"
)


Confirm = Callable[[Mapping[str, Any]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig:
    """What the user gave ``lt.optimize``, which says what each of them means."""

    program: Callable[..., Any]
    data: Any
    metric: Callable[..., Any]
    lm: LMChoice | None = None
    proposer_lm: LM | str | None = None
    teacher_lm: LM | str | None = None
    auto: Auto | int | None = None
    budget: Budget | None = None
    study_dir: str | Path | None = None
    seed: int = 0
    concurrency: int = 64
    inputs: Sequence[str] | None = None
    group: str | None = None
    split_seed: int = 0
    sizes: tuple[int, int, int] | None = None
    predictors: Sequence[Tunable] | None = None
    predictor_metrics: Mapping[str, Callable[..., Any]] | None = None
    start: Sequence[Start] = ()
    store: str | Path | None = None
    looks: str | Path | None = None
    """Where looks at test examples are counted; it is no part of the manifest."""
    launch: Mapping[str, Any] | None = None
    anyway: bool = False
    code_changed: bool = False
    executor: ExecutorChoice = None
    """Where the program runs; it decides nothing, so it is no part of the manifest."""

    @property
    def shared_store(self) -> Path | None:
        """The store shared with other studies; None: the study's own."""
        named = self.store if self.store is not None else os.environ.get("LUTHIER_STORE") or None
        return None if named is None else Path(named).expanduser()


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
    config: StudyConfig
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
        own, shared = self.config.looks, self.config.shared_store
        return LookCounter(
            (looks_file() if own is None else Path(own).expanduser(), *([] if shared is None else [shared]))
        )

    def next_look(self) -> CountedLook:
        """Return which look at its test examples this study would be now."""
        if not self.split.test:
            return CountedLook(1)
        return self.looks.next_look([row.id for row in self.split.test], self.study_id)

    @property
    def concurrency(self) -> int:
        """Rollouts in flight: on an embedded LM one, unless its ``max_in_flight`` says otherwise."""
        most, given = self.task.max_abreast, self.config.concurrency
        return given if most is None else min(most, given)

    def facts(self, cost: RolloutCost) -> Facts:
        """Return what the optimizer decides its numbers by."""
        scoring, given = len(self.scoring), self.config.auto
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
            self.config.budget,
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

    def measured_cost(self, baseline: BaselineEvent) -> RolloutCost:
        """Return a program run's mean cost as the baseline event measured it.

        It is read from the journal, never from the clock of this run, so that a resumed study decides the same.
        """
        outcomes, judge = baseline.outcomes, baseline.judge
        n = len(outcomes)
        calls, prompt, written = (
            sum(outcome.cost[name] for outcome in outcomes) / n
            for name in ("lm_calls", "prompt_tokens", "completion_tokens")
        )
        constant = self._constant_tokens() * calls / max(1, len(self.program.predictors))
        return RolloutCost(
            calls=calls,
            prompt_tokens=prompt,
            completion_tokens=written,
            seconds=sum(outcome.seconds for outcome in outcomes) / n / min(n, self.concurrency),
            measured=True,
            demo_tokens=max(0.0, prompt - constant) + written,
            judging=(judge["lm_calls"] / n, judge["prompt_tokens"] / n, judge["completion_tokens"] / n),
            judge_price=(self.metric.judge_lm or self.task.default).price,
            price=blended_price([outcome.lms for outcome in outcomes], self.task),
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
        if self.config.auto is not None or self.optimizer.scores_on_train:
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


def prepare(config: StudyConfig, optimizer: Optimizer) -> Setup:
    """Resolve and check everything; nothing is called and nothing is written.

    Raises:
        UserError: something is wrong; the message says what, where, and what to do.
    """
    program, starts = starting_from(config.start, discover(config.program, config.predictors))
    metric = Metric.of(config.metric)
    rows = split(
        config.data,
        program,
        inputs=config.inputs,
        group=config.group,
        split_seed=config.split_seed,
        sizes=config.sizes,
    )
    rows, moved = without_shown(rows, (program.original, *starts) if config.start else ())
    limits = {} if config.budget is None else config.budget.limits
    dollars, tokens = "usd" in limits, "tokens" in limits
    metric.check(rows.val[0].example, dollars=dollars, tokens=tokens)
    named = config.predictor_metrics or {}
    of_predictors = metrics_by_predictor(named, program, rows.rows)
    for of_predictor in of_predictors.values():
        of_predictor.check(rows.val[0].example, dollars=dollars, tokens=tokens)
    labels = check_labels(metric, program, list(rows.rows.values()))
    task, teacher, proposer = _lms(config, program)
    for lm in (task, teacher, proposer):
        lm.check(dollars=dollars, tokens=tokens)
    check_auto(config.auto, optimizer, len(rows.train), len(rows.val))
    _check_variables(optimizer, program, starts)
    if config.concurrency < 1:
        raise ConfigError(f"concurrency={config.concurrency}: must be at least 1")
    return Setup(
        program=program,
        metric=metric,
        predictor_metrics=of_predictors,
        split=rows,
        task=task,
        teacher=teacher,
        proposer=proposer,
        optimizer=optimizer,
        config=config,
        starts=starts,
        moved=moved,
        labels=labels,
        predictors_given=config.predictors is not None,
        study_dir=_default_directory(program) if config.study_dir is None else Path(config.study_dir),
        manifest=manifest(
            program=program,
            metric=metric,
            predictor_metrics={name: of_predictors[name] for name in named},
            split=rows,
            lms={"task": task, "teacher": teacher, "proposer": LMs(proposer)},
            optimizer=optimizer,
            budget=config.budget,
            settings=_plain(config, program, starts),
        ),
    )


def _plain(config: StudyConfig, program: Program, starts: Sequence[Candidate]) -> dict[str, Any]:
    """Return the settings that the manifest names as they are."""
    return {
        "auto": config.auto,
        "seed": config.seed,
        "split_seed": config.split_seed,
        "concurrency": config.concurrency,
        "group": config.group,
        **({"start": _start(program, starts)} if config.start else {}),
        "launch": None if config.launch is None else dict(config.launch),
    }


def _start(program: Program, starts: Sequence[Candidate]) -> dict[str, Any]:
    deployed = None if program.deployed is None else program.deployed.key
    return {"deployed": deployed, "tried": [start.key for start in starts]}


def _lms(config: StudyConfig, program: Program) -> tuple[LMs, LMs, LM]:
    given, teacher, proposer = config.lm, config.teacher_lm, config.proposer_lm
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
    frozen: Sequence[str] = getattr(optimizer, "frozen", ())
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
