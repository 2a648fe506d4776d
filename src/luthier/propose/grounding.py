"""Grounding: the facts about data and program that the proposer is shown (MIPRO §3.1, App. C)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from luthier.canonical import uniform_order
from luthier.errors import ConfigError
from luthier.lm.profile import Profile
from luthier.program.thoughts import written_after_thoughts
from luthier.propose import meta_prompts
from luthier.propose.fields import named_text, private_names, row_values, subjects_of
from luthier.propose.history import ScoredInstruction
from luthier.propose.proposer import Proposer, side_by_side
from luthier.propose.small_guards import LIMIT
from luthier.propose.tips import TIPS

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.program import Program

_VALUE, _SMALL_VALUE = 600, 160
_ROWS, _SMALL_ROWS = 10, 6
_BATCHES = 10
"""The first 100 rows are looked at, no more (as released)."""
_COMPLETE = 5
"""So many answers of COMPLETE end the observing (App. C)."""
_TOKENS, _SMALL_TOKENS = 4000, 120
"""Of an answer, thoughts included."""
_DECORATION = " \n\t*#`\"'[("
_SMALL_FACT = 400
"""Characters kept of a small model's answer; of an able one's all are."""


@dataclass(frozen=True, slots=True)
class GroundingSettings:
    """What the proposer is shown, and how proposals are held in check. Every ingredient can be switched off.

    Args:
        dataset_summary: a summary of the training rows.
        program_summary: the program's code and a description of it.
        roles: which part each predictor plays in the program.
        demos: a few demos of the predictor.
        traces: a run of the program, for whoever describes it.
        history: earlier instructions with their scores (OPRO; MIPRO proposes before any score exists).
        images: the images of those demos; off, they are not shown to the proposer.
        rules: observations are asked for the rules by which answers follow from inputs, and the summary keeps them;
            off, they are asked for what the paper asks for (App. C).
        tips: keys of the tips of which one is drawn for each proposal; none of them: no tip.
        profile: what meta-prompts, guards, and lengths of answers are fitted to; ``small``: short meta-prompts, few
            calls, and further guards. None: the proposer's.
        demos_shown: how many demos.
        tries: how often a rejected proposal is asked for, the first time included.
        max_characters: the longest instruction; None: 1,200 for a small task LM, and no limit for an able one.
        max_tokens: the longest answer to a request for an instruction; None: 4,000, or 160 of a small model.
        refuse_quotes: reject proposals that quote a training row, which are otherwise reported only; those of small
            models always are rejected.
    """

    dataset_summary: bool = True
    program_summary: bool = True
    roles: bool = True
    demos: bool = True
    traces: bool = True
    history: bool = False
    images: bool = False
    rules: bool = True
    tips: tuple[str, ...] = tuple(TIPS)
    profile: Profile | None = None
    demos_shown: int = 3
    tries: int = 4
    max_characters: int | None = None
    max_tokens: int | None = None
    refuse_quotes: bool = False

    def __post_init__(self) -> None:
        for name in ("demos_shown", "tries", "max_characters", "max_tokens"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name}={value}: must be at least 1")
        if unknown := [tip for tip in self.tips if tip not in TIPS]:
            raise ConfigError(f"tips: no tip is called {unknown[0]!r}; there are {', '.join(TIPS)}")
        if self.profile is not None and self.profile not in tuple(Profile):
            raise ConfigError(f"profile={self.profile!r}: must be 'able', 'small', or None for the proposer's own")

    @property
    def small(self) -> bool:
        """Whether the proposer is taken to be a small model."""
        return self.profile is Profile.SMALL

    def fitted(self, *, proposer: Profile, task: Profile) -> GroundingSettings:
        """Return the settings with what they leave open: guards by the proposer, lengths by the task LM."""
        limit = LIMIT if self.max_characters is None and task is Profile.SMALL else self.max_characters
        profile = proposer if self.profile is None else Profile(self.profile)
        return replace(self, profile=profile, max_characters=limit)

    def most_calls(self, n_rows: int, n_predictors: int, count: int = 1) -> int:
        """Return an upper bound of the proposer's calls for grounding and ``count`` instructions per predictor."""
        batches = 1 if self.small else min(_BATCHES, -(-n_rows // _ROWS)) + 1
        calls = batches if self.dataset_summary else 0
        calls += 1 if self.program_summary else 0
        calls += n_predictors if self.roles else 0
        return calls + n_predictors * max(0, count - 1) * self.tries


@dataclass(frozen=True, slots=True)
class Grounding:
    """What is known about data and program; None or missing where switched off or where the proposer said nothing."""

    dataset_summary: str | None = None
    program_summary: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    """By predictor."""
    history: Mapping[str, tuple[ScoredInstruction, ...]] = field(default_factory=dict)
    """By predictor: instructions of earlier trials with the trials' scores."""
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the grounding as JSON."""
        return {
            "dataset_summary": self.dataset_summary,
            "program_summary": self.program_summary,
            "roles": dict(self.roles),
            "history": {name: [[item.text, item.score] for item in items] for name, items in self.history.items()},
            "warnings": list(self.warnings),
        }

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Grounding:
        """Read a grounding back."""
        history = data.get("history", {})
        return Grounding(
            data["dataset_summary"],
            data["program_summary"],
            dict(data["roles"]),
            {name: tuple(ScoredInstruction(text, score) for text, score in items) for name, items in history.items()},
            tuple(data.get("warnings", ())),
        )


async def ground(
    ask: Proposer,
    program: Program,
    rows: Sequence[Row],
    settings: GroundingSettings,
    seed: int,
    *,
    traces: Sequence[Any] = (),
) -> Grounding:
    """Have data and program described by the proposer. An answer that says nothing is recorded as None, with a warning.

    Args:
        ask: the proposer.
        program: whose code is described.
        rows: training rows; private columns are left out.
        settings: what to describe.
        seed: decides which rows are seen, and in which order.
        traces: passing traces, as ``Bootstrapped.traces`` has them.

    Raises:
        LMError: the proposer could not answer; no ingredient is ever switched off for that.
        BudgetExhausted: a call does not fit the budget.
    """
    work = []
    if settings.dataset_summary:
        work.append(_describe_data(ask, program, rows, settings, seed))
    if settings.program_summary or settings.roles:
        work.append(_describe_program(ask, program, settings, traces))
    known = Grounding()
    for said in await side_by_side(work):
        known = replace(
            known,
            dataset_summary=known.dataset_summary or said.dataset_summary,
            program_summary=known.program_summary or said.program_summary,
            roles={**known.roles, **said.roles},
            warnings=(*known.warnings, *said.warnings),
        )
    return known


async def _describe_data(
    ask: Proposer, program: Program, rows: Sequence[Row], settings: GroundingSettings, seed: int
) -> Grounding:
    hidden = private_names(program)
    size, limit = (_SMALL_ROWS, _SMALL_VALUE) if settings.small else (_ROWS, _VALUE)
    shuffled = sorted(rows, key=lambda row: uniform_order(f"{seed}/grounding", row.id))
    texts = [named_text(row_values(row, hidden), limit=limit) for row in shuffled[: size * _BATCHES]]
    batches = ["\n\n".join(texts[start : start + size]) for start in range(0, len(texts), size)]
    if not batches:
        return Grounding(warnings=("no dataset summary: there are no rows to summarize",))
    if settings.small:
        summary = await _fact(ask, meta_prompts.small_dataset_prompt(batches[0]), small=True)
    else:
        observations = await _observe(ask, batches, rules=settings.rules)
        condense = meta_prompts.condense_prompt(observations, rules=settings.rules)
        summary = await _fact(ask, condense) if observations else ""
    if not summary:
        return Grounding(warnings=("no dataset summary: the proposer's answer was empty",))
    return Grounding(dataset_summary=summary)


async def _observe(ask: Proposer, batches: Sequence[str], *, rules: bool) -> str:
    """Return observations on batch after batch, until COMPLETE has been said often enough (App. C)."""
    observations, complete = "", 0
    for batch in batches:
        prompt = meta_prompts.observe_prompt(batch, observations, rules=rules)
        said = written_after_thoughts(await ask.ask(prompt, max_tokens=_TOKENS))
        if said.upper().lstrip(_DECORATION).startswith("COMPLETE"):
            complete += 1
            if complete == _COMPLETE:
                break
        else:
            observations = f"{observations}\n{said}".strip()
    return observations


async def _describe_program(
    ask: Proposer, program: Program, settings: GroundingSettings, traces: Sequence[Any]
) -> Grounding:
    small, code = settings.small, program_code(program)
    summary, warnings = "", list[str]()
    if settings.program_summary and not code:
        warnings.append("no program summary: the program's source cannot be read")
    elif settings.program_summary:
        run = trace_text(traces[0]) if settings.traces and traces else ""
        summary = await _fact(ask, meta_prompts.program_prompt(code, run, small=small), small=small)
        if not summary:
            warnings.append("no program summary: the proposer's answer was empty")
    if not settings.roles:
        return Grounding(program_summary=summary or None, warnings=tuple(warnings))
    subjects = subjects_of(program)
    prompts = [meta_prompts.role_prompt(one, code, summary, small=small) for one in subjects.values()]
    answers = await side_by_side([_fact(ask, prompt, small=small) for prompt in prompts])
    roles = dict(zip(subjects, answers, strict=True))
    warnings.extend(f"no role of {name!r}: the proposer's answer was empty" for name in roles if not roles[name])
    return Grounding(
        program_summary=summary or None,
        roles={name: role for name, role in roles.items() if role},
        warnings=tuple(warnings),
    )


async def _fact(ask: Proposer, prompt: str, *, small: bool = False) -> str:
    said = written_after_thoughts(await ask.ask(prompt, max_tokens=_SMALL_TOKENS if small else _TOKENS))
    return meta_prompts.cut(said, _SMALL_FACT) if small else said


def program_code(program: Program) -> str:
    """Return the program's source as it is shown to the proposer; loads the source reader when first used."""
    from luthier.program.program import program_source

    return program_source(program)


def trace_text(trace: Sequence[Mapping[str, Any]]) -> str:
    """Return a run of the program as text: each call with what went in and came out."""
    return "\n\n".join(
        f"{call['predictor']}\n{named_text({**call['inputs'], **call['outputs']}, limit=_SMALL_VALUE)}"
        for call in trace
    )
