"""Bootstrap demonstrations: from a teacher's rollouts on training rows to demo sets (MIPRO §3.1)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from luthier.errors import ConfigError
from luthier.evaluation.rollout import Rollout
from luthier.program.answer_problems import count_problems
from luthier.program.candidate import Candidate, Demo, DemoSource
from luthier.program.lms import LMs
from luthier.program.signature import Signature
from luthier.propose.demo_sets import DemoSet, SetsMade, balanced_sets
from luthier.propose.demos import bootstrapped_demos, completed_demos, labeled_demos
from luthier.propose.fields import private_names, shown, signatures_of
from luthier.propose.paper_sets import PaperSets, labeled_teacher
from luthier.propose.teaching import Harvest, Teaching, class_by_class, without_example

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.evaluation.evaluator import Evaluator
    from luthier.lm.lm import LM

__all__ = ["BootstrapSettings", "Bootstrapped", "DemoSet", "bootstrap"]

ROUND = 0.2
"""Share of the rollouts that one of several growing rounds makes."""
_SAMPLE_TRACES = 3


@dataclass(frozen=True, slots=True)
class BootstrapSettings:
    """How demo sets are collected.

    Args:
        sizes: how many demos each set has, per predictor; 0 is the empty set.
        first: by set, which demos are taken first: ``bootstrapped`` (a run that passed), ``completed`` (one that did
            not, with the row's columns for outputs), ``corrective`` (those of them where the predictor itself was
            wrong), or ``labeled`` (bare rows); none: bootstrapped ones in every set.
        labeled: how many demos of a set may be bare rows, no trace behind them.
        completed: also make demos with a predictor's real inputs and the row's columns for outputs.
        threshold: the score from which a rollout passes; None asks for a full score.
        rounds: how often rows are tried; from the second round on only rows of classes that lack passes. 0: not at all,
            unless bare rows make no demos for some predictor.
        temperature: the teacher's temperature in the first round; None: the LM's own.
        temperature_after_first: the teacher's temperature from the second round on.
        balanced: accept and choose by class, where labels are few.
        growing: each round shows the demos that the rounds before brought, on rows not tried yet, then on those that
            failed; a round that brings none is followed by one that is hotter, and two of them end it.
        max_passes: stop when so many rollouts have passed, divided among the classes; None tries every row once.
        max_rollouts: never make more rollouts than this; None leaves it to rows and rounds.
        batch: rollouts at once, where a pass can end the search for more.
        max_bootstrapped: set by ``paper``: K; sets are then made as the paper made them.
    """

    sizes: tuple[int, ...] = (0, 6, 12, 12, 18, 18)
    first: tuple[DemoSource, ...] = ()
    labeled: int = 0
    completed: bool = True
    threshold: float | None = None
    rounds: int = 2
    temperature: float | None = None
    temperature_after_first: float = 1.0
    balanced: bool = True
    growing: bool = False
    max_passes: int | None = None
    max_rollouts: int | None = None
    batch: int = 16
    max_bootstrapped: int | None = None

    def __post_init__(self) -> None:
        for name in ("labeled", "max_bootstrapped", "max_passes", "rounds"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ConfigError(f"{name}={value}: must not be negative")
        for name in ("batch", "max_rollouts"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: must be at least 1")
        if not self.sizes or min(self.sizes) < 0:
            raise ConfigError(f"sizes={self.sizes}: must be one or more sizes of 0 and above")
        if self.first and len(self.first) != len(self.sizes):
            raise ConfigError(f"first={self.first}: must name a source for each of {len(self.sizes)} sets, or none")

    @staticmethod
    def paper(n_sets: int, max_bootstrapped: int = 4, max_labeled: int = 4) -> BootstrapSettings:
        """Return the paper's way: zero-shot, labels-only, unshuffled, then shuffled sets; ``n_sets`` counts them all.

        Nothing is completed, one round is made, and each set stops at its first K passes (paper §3.1, F.1).
        """
        return BootstrapSettings(
            sizes=(max_bootstrapped,) * n_sets,
            labeled=max_labeled,
            completed=False,
            rounds=1,
            balanced=False,
            max_bootstrapped=max_bootstrapped,
        )

    @property
    def largest(self) -> int:
        """The most demos a predictor's prompt may have."""
        return max(*self.sizes, self.labeled) if self.max_bootstrapped is not None else max(self.sizes)

    def most_rollouts(self, n_rows: int) -> int:
        """Return an upper bound of the rollouts that bootstrapping on so many rows makes."""
        if max(self.sizes) == 0:
            return 0
        most = max(1, self.rounds) * n_rows
        return most if self.max_rollouts is None else min(most, self.max_rollouts)


@dataclass(frozen=True, slots=True)
class Bootstrapped:
    """What bootstrapping gave."""

    sets: tuple[DemoSet, ...]
    """Set 0 is the empty one, unless the settings say otherwise."""
    traces: tuple[Any, ...] = ()
    """A few passing traces as JSON, private fields left out, for grounding."""
    passes: Mapping[str, int] = field(default_factory=dict)
    """Accepted rollouts by class; the class is "" where there are none."""
    attempts: Mapping[str, int] = field(default_factory=dict)
    """Rollouts by class."""
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By predictor: how many demos there are to choose from, by source."""
    warnings: tuple[str, ...] = ()
    badly: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Answers that came, but not as they should, by predictor and kind."""

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON."""
        return {
            "sets": [made.to_json() for made in self.sets],
            "traces": list(self.traces),
            "passes": dict(self.passes),
            "attempts": dict(self.attempts),
            "counts": {name: dict(by_source) for name, by_source in self.counts.items()},
            "warnings": list(self.warnings),
            **({"badly": self.badly} if self.badly else {}),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Bootstrapped:
        """Read a result back."""
        return Bootstrapped(
            tuple(DemoSet.from_json(made) for made in data["sets"]),
            tuple(data["traces"]),
            dict(data["passes"]),
            dict(data["attempts"]),
            {name: dict(by_source) for name, by_source in data.get("counts", {}).items()},
            tuple(data["warnings"]),
            data.get("badly", {}),
        )


async def bootstrap(
    evaluator: Evaluator,
    rows: Sequence[Row],
    settings: BootstrapSettings,
    *,
    teacher: LM | LMs,
    candidate: Candidate,
    seed: int,
) -> Bootstrapped:
    """Roll the teacher out on training rows and make demo sets from what passed (MIPRO §3.1).

    Raises:
        StudyPaused: infrastructure took a whole batch of rollouts.
        BudgetExhausted: the next rollout does not fit the budget.
    """
    teacher = teacher if isinstance(teacher, LMs) else LMs(teacher, alone=True)
    signatures, hidden = signatures_of(evaluator.program), private_names(evaluator.program)
    if not signatures:  # texts alone take no demos
        return Bootstrapped((), (), {}, {}, {}, ())
    harvest = Harvest({row.id: row.stratum for row in rows})
    bare = labeled_demos(rows, signatures, hidden)
    rolled = settings.rounds > 0 or not all(bare.values())
    if settings.max_bootstrapped is not None:
        prompts = labeled_teacher(candidate, bare, settings.labeled, seed)
        teaching = Teaching(evaluator, teacher, lambda example: without_example(prompts, example), settings.threshold)
        paper = PaperSets(teaching, harvest, rows, bare, signatures, hidden)
        made = await paper.make(
            len(settings.sizes),
            max_bootstrapped=settings.max_bootstrapped,
            max_labeled=settings.labeled,
            seed=seed,
        )
        pool = _pool(harvest, {}, teacher, signatures, hidden)
    else:
        shown = [candidate]
        teaching = Teaching(evaluator, teacher, lambda example: without_example(shown[-1], example), settings.threshold)
        if max(settings.sizes) > 0 and rolled and settings.growing:

            def show_what_passed() -> None:
                pool = _pool(harvest, {}, teacher, signatures, hidden)
                shown.append(_with_demos(candidate, pool, harvest, settings, seed))

            await _collect_growing(teaching, harvest, rows, settings, seed, show_what_passed)
        elif max(settings.sizes) > 0 and rolled:
            await _collect(teaching, harvest, rows, settings, seed)
        pool = _pool(harvest, {row.id: row for row in rows} if settings.completed else {}, teacher, signatures, hidden)
        made = _balanced(pool, bare, harvest, settings, seed)
    traces = [_shown_trace(rollout, signatures, hidden) for rollout in _sample(harvest)]
    warnings = (*harvest.warnings(), *(_without_demos(pool, settings) if rolled else ()), *made.warnings)
    counts = {name: _by_source(demos) for name, demos in pool.items()}
    passes = harvest.passes() if harvest.attempts else {}
    attempts = dict(sorted(harvest.attempts.items()))
    return Bootstrapped(made.sets, tuple(traces), passes, attempts, counts, warnings, count_problems(harvest.calls))


async def _collect(
    teaching: Teaching, harvest: Harvest, rows: Sequence[Row], settings: BootstrapSettings, seed: int
) -> None:
    """Make the rollouts, round by round; from the second on hotter, and only where passes are lacking."""
    stratum = harvest.strata if settings.balanced else dict.fromkeys(harvest.strata, "")
    for repeat in range(max(1, settings.rounds)):
        quota = _quota(stratum, settings, first=repeat == 0)
        waiting = [row for row in class_by_class(rows, seed) if row.id not in harvest.passed]
        while waiting:
            passes = Counter(stratum[example] for example in harvest.passed)
            waiting = [row for row in waiting if passes[stratum[row.id]] < quota]
            size = len(waiting) if math.isinf(quota) else settings.batch
            if settings.max_rollouts is not None:
                size = min(size, settings.max_rollouts - harvest.attempts.total() - harvest.unscored)
            if size <= 0:
                break
            batch, waiting = waiting[:size], waiting[size:]
            temperature = settings.temperature if repeat == 0 else settings.temperature_after_first
            await teaching.roll_out(batch, harvest, repeat=repeat, temperature=temperature)


async def _collect_growing(
    teaching: Teaching,
    harvest: Harvest,
    rows: Sequence[Row],
    settings: BootstrapSettings,
    seed: int,
    show_what_passed: Callable[[], None],
) -> None:
    """Make the rollouts in rounds of which each shows what passed before: so what the LM could not do comes to pass."""
    most = settings.max_rollouts or settings.rounds * len(rows)
    vain = 0
    for repeat in range(settings.rounds):
        waiting = [row for row in class_by_class(rows, seed) if row.id not in harvest.passed]
        waiting.sort(key=lambda row: row.id in harvest.first)  # those not tried yet first
        left = most - harvest.attempts.total() - harvest.unscored
        batch = waiting[: min(left, max(settings.batch, math.ceil(most * ROUND)))]
        if not batch or vain == 2:
            return
        before = len(harvest.passed)
        temperature = settings.temperature if not vain else settings.temperature_after_first
        await teaching.roll_out(batch, harvest, repeat=repeat, temperature=temperature)
        vain = 0 if len(harvest.passed) > before else vain + 1
        show_what_passed()


def _with_demos(
    candidate: Candidate,
    pool: Mapping[str, Sequence[Demo]],
    harvest: Harvest,
    settings: BootstrapSettings,
    seed: int,
) -> Candidate:
    """Return the candidate with one large set of what passed so far, later passes first."""
    made = _balanced(
        pool,
        dict.fromkeys(pool, ()),
        harvest,
        replace(settings, sizes=(max(settings.sizes),), first=(DemoSource.RETRIED,), labeled=0),
        seed,
    )
    for name, demos in made.sets[0].demos.items() if made.sets else ():
        candidate = candidate.with_demos(name, demos)
    return candidate


def _quota(stratum: Mapping[str, str], settings: BootstrapSettings, *, first: bool) -> float:
    """Return how many passes of one class are enough."""
    classes = max(1, len(set(stratum.values())))
    if settings.max_passes is not None:
        return math.ceil(settings.max_passes / classes)
    # The first round looks at every row; later ones only fill up what the largest set needs.
    return math.inf if first else math.ceil(max(settings.sizes) / classes)


def _pool(
    harvest: Harvest,
    to_complete: Mapping[str, Row],
    teacher: LMs,
    signatures: Mapping[str, Signature],
    hidden: frozenset[str],
) -> dict[str, list[Demo]]:
    """Return the demos of all rollouts by predictor: bootstrapped where a rollout passed, completed elsewhere."""
    pool: dict[str, list[Demo]] = {name: [] for name in signatures}
    for example, first in harvest.first.items():
        rollout = harvest.passed.get(example)
        taken: set[tuple[str, int | None]] = set()
        if rollout is not None:
            # One that failed at first shows what the LM cannot do reliably.
            again = rollout is not first
            for name, demos in bootstrapped_demos(rollout, signatures, hidden, teacher, again=again).items():
                pool[name].extend(demos)
                taken.update((name, demo.provenance.call) for demo in demos if demo.provenance is not None)
        if example not in to_complete:
            continue
        completed = completed_demos(rollout or first, to_complete[example], signatures, hidden, teacher)
        for name, demos in completed.items():
            # What a passing rollout really answered stands; it is not completed as well.
            pool[name].extend(d for d in demos if d.provenance and (name, d.provenance.call) not in taken)
    return pool


def _balanced(
    pool: Mapping[str, Sequence[Demo]],
    bare: Mapping[str, Sequence[Demo]],
    harvest: Harvest,
    settings: BootstrapSettings,
    seed: int,
) -> SetsMade:
    everything = {name: [*demos, *(bare[name] if settings.labeled else ())] for name, demos in pool.items()}
    return balanced_sets(
        everything,
        harvest.strata if settings.balanced else None,
        sizes=settings.sizes,
        first=settings.first or (DemoSource.BOOTSTRAPPED,) * len(settings.sizes),
        labeled=settings.labeled,
        seed=seed,
    )


def _without_demos(pool: Mapping[str, Sequence[Demo]], settings: BootstrapSettings) -> list[str]:
    if max(settings.sizes) == 0:
        return []
    warnings = [f"predictor {name!r} has no traced demos" for name, demos in pool.items() if not demos]
    made = {d.provenance.source for demos in pool.values() for d in demos if d.provenance is not None}
    if settings.completed and pool and made.isdisjoint({DemoSource.COMPLETED, DemoSource.CORRECTIVE}) and warnings:
        warnings.append(
            "no predictor's output is named like a label column, so no demo could be completed from labels; "
            "name it with @lt.predictor(output=...) if it should"
        )
    return warnings


def _by_source(demos: Sequence[Demo]) -> dict[str, int]:
    return dict(sorted(Counter(d.provenance.source.value for d in demos if d.provenance is not None).items()))


def _sample(harvest: Harvest) -> list[Rollout]:
    """Return a few passing rollouts, of different classes where there are."""
    rollouts = {example: harvest.passed[example] for example in sorted(harvest.passed)}
    by_class: dict[str, list[str]] = {}
    for example in rollouts:
        by_class.setdefault(harvest.strata[example], []).append(example)
    turns = sorted((nth, name, example) for name, own in by_class.items() for nth, example in enumerate(own))
    return [rollouts[example] for _, _, example in turns[:_SAMPLE_TRACES]]


def _shown_trace(rollout: Rollout, signatures: Mapping[str, Signature], hidden: frozenset[str]) -> list[dict[str, Any]]:
    calls = []
    for call in rollout.trace.calls:
        if call.predictor in signatures and call.outputs is not None:
            signature = signatures[call.predictor]
            seen = {field.name for field in (*shown(signature.inputs, hidden), *shown(signature.outputs, hidden))}
            calls.append(
                {
                    "predictor": call.predictor,
                    "inputs": {name: value for name, value in call.inputs.items() if name in seen},
                    "outputs": {name: value for name, value in call.outputs.items() if name in seen},
                }
            )
    return calls
