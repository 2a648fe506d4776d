"""The events of a study's journal, one class for each: the one place that names their fields.

`read` takes the events of every released version. A field without a default is in every event that this version writes.
A field with one is left out where it is the default, unless it is marked `_ALWAYS`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, TypeAlias, TypeVar

Json: TypeAlias = Mapping[str, Any]
"""A JSON object that the study stores and does not interpret."""
_ALWAYS: Json = {"always": True}
"""Marks a field that is always written, and has a default for journals from before it was."""
_ENVELOPE = ("transient", "v", "seq", "event", "time")
_EMPTY: Json = {"Mapping": {}, "Json": {}, "Sequence": (), "str": "", "int": 0, "float": 0.0, "bool": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A JSON object with known fields."""

    unknown: Json = field(default_factory=dict)
    """Fields of a later version, as they were read."""
    order: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The fields in the order in which they were read; empty for a new record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Record):
    """One line of the journal."""

    kind: ClassVar[str] = ""
    v: int = 1
    """Version of the schema."""
    seq: int | None = None
    """Number of the event in its journal, from 0; None: not written."""
    time: str = ""
    """When it was written, ISO 8601, UTC."""
    part: str = ""
    """Which of several events of this kind: ``0.7`` of ``bootstrap/0.7``; the whole name of an unknown event."""
    transient: bool = False
    """Whether it is only reported to listeners, and not in the journal."""

    @property
    def name(self) -> str:
        """The event's name in the journal."""
        return self.name_of(self.part)

    @classmethod
    def name_of(cls, part: str) -> str:
        """Return the name of the event of this kind that has this part."""
        return "/".join(text for text in (cls.kind, part) if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    """An event of a later version, or a step of another study; all its fields are in `unknown`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Record):
    """What one rollout came to."""

    example: str
    """Id of the example."""
    repeat: int
    """0, or the number of the repetition."""
    outcome: str
    """``scored``, ``unparseable``, ``error``, or ``unscored``."""
    value: float | None
    """The score; null where unscored."""
    measures: Mapping[str, float]
    """Further numbers of the metric, by name."""
    error: str
    """The error in one line, or empty."""
    blamed: str
    """The predictor whose answer could not be parsed, or empty."""
    cost: Mapping[str, float]
    """``lm_calls``, ``prompt_tokens``, ``completion_tokens``, as if nothing had come from the store."""
    seconds: float
    """How long it took."""
    refused: bool = False
    """Whether the LM's provider refused the request, as too long or as flagged."""
    badly: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By predictor, how many answers were cut off by the length limit (while reasoning, or not), refused, from another
    model than the one requested, or had text around their JSON."""
    lms: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Where several LMs answer the predictors: the cost by the LM's identity."""
    unmetered: Mapping[str, int] = field(default_factory=dict)
    """By predictor, calls that luthier could not see, and no budget covers."""
    traceback: str = ""
    """In trials: hash of the traceback, where the program raised."""
    met: Sequence[str] = ()
    """In trials: predictors that the baseline did not meet, and that are not tuned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullEvaluation(Record):
    """One candidate's evaluation on all validation examples, outside of the loop."""

    point: Mapping[str, str]
    """A level for each variable."""
    number: int
    """The trial's number."""
    outcomes: Sequence[Outcome] = field(metadata={"of": Outcome})
    """One entry for each rollout."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestEvent(Event):
    """What the study is a study of. A resumed study must have the same; only its budget may be raised."""

    kind: ClassVar[str] = "manifest"
    format: int = field(default=1, metadata=_ALWAYS)
    """2. Absent: 1, which names less."""
    program: str
    """The program's name."""
    predictors: Sequence[Json]
    """Name, instruction, fingerprint, inputs, outputs, reasoning, and ``settings``: those of the predictor's own. For
    texts: name, ``kind`` (``region``, ``tool``, ``demos``, ``instruction``, ``fixed``; absent: ``prompt``), instruction
    (the text), fingerprint, ``around`` (a hash of what stands around it)."""
    lms: Mapping[str, Json]
    """Task, teacher, proposer, and a judge where it has an LM of its own. Each has name, identity (model, address, and
    what headers select), endpoint, sampling, ``extra``, price."""
    predictor_lms: Mapping[str, Json] = field(default_factory=dict)
    """Where several LMs answer: the same by predictor."""
    optimizer: Json
    """Name and settings."""
    auto: str | None
    """The preset size of the search, if one was chosen."""
    seed: int
    """Seed of the search."""
    split_seed: int
    """Seed of the split."""
    concurrency: int | None
    """How many rollouts run at a time."""
    group: str | None
    """The column whose equal rows stay in one part."""
    launch: Any
    """How the command line started the study, or null."""
    budget: Json | None
    """The limits that were set."""
    predictor_metrics: Mapping[str, str] = field(default_factory=dict)
    """Where some were given: a hash of each metric by predictor."""
    start: Json = field(default_factory=dict)
    """Where there is one: hashes of the prompts ``deployed`` today (null: the program's own) and of the others
    ``tried`` first."""
    renderer: int = field(default=1, metadata=_ALWAYS)
    """Version of the renderer."""
    code: Json
    """Hashes of program and metric."""
    data: Json
    """Count and hash of each part; names of inputs and labels."""
    versions: Mapping[str, str]
    """Versions of luthier and Python."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitEvent(Event):
    """How the examples are divided."""

    kind: ClassVar[str] = "split"
    train: Sequence[str]
    """Ids of training examples."""
    val: Sequence[str]
    """Ids of validation examples."""
    test: Sequence[str]
    """Ids of held-out examples."""
    numbers: Mapping[str, int]
    """By test id: its row in the data, from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanEvent(Event):
    """What the study will cost at most, before anything is spent."""

    kind: ClassVar[str] = "plan"
    phases: Sequence[Json]
    """Name, rollouts, calls, tokens, usd, seconds of each phase."""
    total: Json
    """Their sum."""
    measured: bool
    """Whether it is based on measured runs."""
    leaves_machine: Sequence[str]
    """The hosts that requests are sent to."""
    look: int = field(default=1, metadata=_ALWAYS)
    """Which look at the test examples the verdict will be, from 1. Absent in 0.1.0."""
    level: float = field(default=0.95, metadata=_ALWAYS)
    """Level of its interval. Absent in 0.1.0."""
    smallest_detectable: float | None
    """The smallest gain that can be detected at 20 % disagreement; null where there is none."""
    paper_unit: Mapping[str, float]
    """The search in program runs and full evaluations."""
    trials: int | None = field(default=None, metadata=_ALWAYS)
    """How many trials the search has."""
    surrogate_trials: int
    """Of these, the trials that the surrogate chooses."""
    splits: Mapping[str, int]
    """Sizes of the parts."""
    notes: Sequence[str]
    """What to know before money is spent."""
    inputs: Sequence[str]
    """Input columns."""
    labels: Sequence[str]
    """Label columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEvent(Event):
    """A server refused a parameter; written before the call is repeated."""

    kind: ClassVar[str] = "refused"
    lm: str
    """The LM's identity."""
    lm_name: str = field(metadata={"key": "name"})
    """The LM's name."""
    parameter: str
    """What was refused."""
    instead: str | None
    """What is sent in its place."""
    warnings: Sequence[str]
    """The same in a sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineEvent(Event):
    """The original on the validation examples."""

    kind: ClassVar[str] = "baseline"
    mean: float
    """Mean score."""
    stderr: float
    """Its standard error."""
    n: int
    """How many examples."""
    outcomes: Sequence[Outcome] = field(metadata={"of": Outcome})
    """One entry for each rollout."""
    counts: Mapping[str, int]
    """How many rollouts by outcome."""
    usage: Mapping[str, float]
    """Calls and tokens."""
    judge: Mapping[str, float]
    """Calls and tokens of judges in the metric."""
    predictors: Json
    """``never_called`` ones, and those first ``met`` in a run, with the example that showed each."""
    warnings: Sequence[str]
    """What to know of it."""
    unmetered: Mapping[str, int] = field(default_factory=dict)
    """Calls that luthier could not see, by predictor, ``(program)`` outside of any."""
    own_lms: Mapping[str, Json] = field(default_factory=dict)
    """By predictor: name, identity, and price of other LMs that the program's own client called."""
    zero: Json | None = None
    """Where every score is 0, or every run returned None: ``reason`` (``labels``, ``none``, ``unparseable``, or null)
    and the ids of three ``examples``, whose predictions and labels are reported, never recorded; with ``none``,
    ``program`` and the predictor called ``last``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckEvent(Event):
    """What the baseline leaves to gain. With ``stop``, it is the last event, unless the study is told to go on."""

    kind: ClassVar[str] = "check"
    mean: float
    """Mean score of the original."""
    low: float
    """Lower end of its interval."""
    high: float
    """Upper end of its interval."""
    n: int
    """How many examples."""
    unparseable: Mapping[str, float]
    """Shares of unparseable runs by predictor."""
    smallest_detectable: float | None
    """The smallest gain that the held-out examples can detect; null where there is none."""
    chance: float | None
    """The chance that flawless prompts would be adopted; null where it is not known."""
    noise: Json | None
    """What ``lt.check`` measured, or null."""
    warnings: Sequence[str] = ()
    """Where every score is 0 and prompts may change it: what to look at."""
    stop: bool
    """Whether there is nothing to gain."""
    unmeetable: str = ""
    """Where no prompt can score: the baseline's ``reason``."""
    sentence: str
    """The result in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnywayEvent(Event):
    """The study went on although there was nothing to gain."""

    kind: ClassVar[str] = "anyway"
    sentence: str
    """Why it would have stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPlanEvent(PlanEvent):
    """The plan again, from the baseline's measured runs."""

    kind: ClassVar[str] = "plan_measured"
    facts: Json
    """What the optimizer decides its numbers by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapEvent(Event):
    """Demonstrations from passing runs. ``bootstrap/0.7`` where it is done with several teachers."""

    kind: ClassVar[str] = "bootstrap"
    sets: Sequence[Json]
    """Demo sets with provenance."""
    traces: Sequence[Any]
    """Runs that the proposer is shown."""
    passes: Mapping[str, int]
    """Passing runs by class."""
    attempts: Mapping[str, int]
    """Runs by class."""
    counts: Mapping[str, Mapping[str, int]]
    """Demonstrations by predictor and source."""
    warnings: Sequence[str]
    """What to know of it."""
    badly: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """As in outcomes."""
    usage: Json
    """Calls and tokens."""
    usage_by_lm: Mapping[str, Json] = field(default_factory=dict)
    """Where several LMs answer: the same by the LM's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroundingEvent(Event):
    """The facts that the proposer is shown."""

    kind: ClassVar[str] = "grounding"
    dataset_summary: str
    """What the data are."""
    program_summary: str
    """What the program does."""
    roles: Mapping[str, str]
    """By predictor: what it is for."""
    history: Mapping[str, Sequence[Any]]
    """By predictor: earlier instructions with their scores."""
    warnings: Sequence[str]
    """What to know of it."""
    usage: Json
    """Calls and tokens."""
    usage_by_lm: Mapping[str, Json] = field(default_factory=dict)
    """Where several LMs answer: the same by the LM's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposalsEvent(Event):
    """Proposed instructions."""

    kind: ClassVar[str] = "proposals"
    predictors: Mapping[str, Sequence[Json]]
    """By predictor: each instruction's text, tip, and demo set, the original first, and ``quotes`` where it quotes a
    training row."""
    rejected: Mapping[str, int]
    """Counts of rejected proposals by reason."""
    warnings: Sequence[str]
    """What to know of it."""
    rejections: Sequence[Json]
    """Predictor, text, and reason of each rejected proposal; a text with a private value is withheld. Absent in
    0.1.0."""
    usage: Json
    """Calls and tokens."""
    usage_by_lm: Mapping[str, Json] = field(default_factory=dict)
    """Where several LMs answer: the same by the LM's identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LessonsEvent(Event):
    """``lessons/1``, ``lessons/2``, …: a round of ``reflect``."""

    kind: ClassVar[str] = "lessons"
    lessons: Sequence[Json]
    """``predictor``, ``rule`` (withheld where it holds a private value), ids of the training ``examples`` it came from,
    ``support``: in how many requests it was stated, ``verdict`` (``held``, ``open``, ``dropped``) and ``why``; ids that
    it ``fixed`` of those ``tried``, and ``broken`` ones; ``chance`` that it brings more than asking again."""
    runs: float
    """Program runs that the round took."""
    usage: Mapping[str, Json]
    """Calls and tokens by role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceEvent(Event):
    """What the search chooses from."""

    kind: ClassVar[str] = "space"
    variables: Sequence[Json]
    """Name, levels, kind of each variable."""
    payloads: Mapping[str, Mapping[str, Json]]
    """By variable and level: the instruction, the demos, or the setting that programs are made with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartsEvent(Event):
    """With ``start=``: full evaluations of the prompts to start from. What is deployed is the baseline."""

    kind: ClassVar[str] = "starts"
    trials: Sequence[FullEvaluation] = field(metadata={"of": FullEvaluation})
    """``number``, ``point``, ``outcomes`` of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalEvent(Event):
    """Where proposals come while the search runs (OPRO, MIPRO++): what joins the space."""

    kind: ClassVar[str] = "arrival"
    levels: Mapping[str, Sequence[str]]
    """New levels by variable."""
    points: Sequence[Mapping[str, str]]
    """Programs to be tried."""
    payloads: Mapping[str, Mapping[str, Json]]
    """What the new levels stand for, as in ``space``."""
    rejected: Mapping[str, int] | None = None
    """As in ``proposals``."""
    warnings: Sequence[str] | None = None
    """As in ``proposals``."""
    rejections: Sequence[Json] | None = None
    """As in ``proposals``."""
    usage: Mapping[str, Json]
    """Calls and tokens by role."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskEvent(Event):
    """A trial is requested."""

    kind: ClassVar[str] = "ask"
    trial: int
    """The trial's number; the original's evaluation is trial 0."""
    point: Mapping[str, str]
    """A level for each variable."""
    examples: Sequence[str]
    """Ids of the examples to evaluate it on."""
    purpose: str
    """``explore``, ``race``, or ``full``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellEvent(Event):
    """A trial's result."""

    kind: ClassVar[str] = "tell"
    trial: int
    """The trial's number."""
    mean: float
    """Mean score."""
    outcomes: Sequence[Outcome] = field(metadata={"of": Outcome})
    """One entry for each rollout."""
    usage: Mapping[str, float]
    """Calls and tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopEndEvent(Event):
    """The search is over."""

    kind: ClassVar[str] = "loop_end"
    trials: int
    """How many trials there were."""
    reason: str
    """``complete`` or ``budget``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosingEvent(Event):
    """After a loop that the budget ended: full evaluations from what was reserved."""

    kind: ClassVar[str] = "closing"
    trials: Sequence[FullEvaluation] = field(metadata={"of": FullEvaluation})
    """``number``, ``point``, ``outcomes`` of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceEvent(Event):
    """The candidate that is compared with the original on held-out examples."""

    kind: ClassVar[str] = "choice"
    point: Mapping[str, str]
    """A level for each variable."""
    candidate: Json
    """Its prompts."""
    mean: float
    """Its mean score on validation examples."""
    is_original: bool
    """Whether it is the original."""
    table: Sequence[Json]
    """The fully evaluated candidates."""
    leaked_cells: int
    """How often an example met itself among the demos; only the paper's presets have any."""
    warnings: Sequence[str]
    """What to know of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictEvent(Event):
    """The chosen candidate against the original on the held-out examples."""

    kind: ClassVar[str] = "verdict"
    decision: str
    """``adopt``, ``keep``, or ``undecided``."""
    before: float | None
    """Mean score of the original; numbers are null where no examples are held out."""
    after: float | None
    """Mean score of the chosen candidate."""
    difference: float | None
    """After minus before."""
    low: float | None
    """Lower end of the difference's interval."""
    high: float | None
    """Upper end of it."""
    n: int
    """How many held-out examples."""
    level: float
    """Level of the interval."""
    look: int
    """Which look at these test examples it is, from 1."""
    smallest_detectable: float | None
    """The smallest gain that so many examples can detect; null where there is none."""
    fixed: Sequence[str]
    """Ids of examples that score higher now."""
    broken: Sequence[str]
    """Ids of examples that score lower now."""
    tokens_before: float | None
    """Tokens per call of the original."""
    tokens_after: float | None
    """Tokens per call of the chosen candidate."""
    method: str
    """How the interval was computed."""
    outcomes_before: Sequence[Outcome] = field(metadata={"of": Outcome})
    """The original's rollouts."""
    outcomes_after: Sequence[Outcome] = field(metadata={"of": Outcome})
    """The chosen candidate's; the same where the original was chosen."""
    sentence: str
    """The verdict in words."""
    warnings: Sequence[str] = ()
    """Where looks could not be counted: which file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InsightEvent(Event):
    """What each change brings, and how much each variable mattered."""

    kind: ClassVar[str] = "insight"
    variables: Mapping[str, Json]
    """By variable: its ``share`` of what candidates differed by, with ``low`` and ``high`` (90 %), ``spread`` between
    its levels, ``p`` (how often shuffled scores let it seem to matter as much), and the level that is ``best`` by
    itself. Empty where trials are too few."""
    predictors: Mapping[str, Json]
    """By predictor: what the chosen candidate scores with that predictor's prompt swapped back, and the difference with
    its interval."""
    mean: float | None = None
    """Mean score of the chosen candidate on these examples."""
    n: int | None = None
    """How many examples."""
    rollouts: int | None = None
    """How many rollouts this took."""
    usage: Mapping[str, float] = field(default_factory=dict)
    """Calls and tokens that this took."""
    usage_by_lm: Mapping[str, Json] = field(default_factory=dict)
    """Where several LMs answer: the same by the LM's identity."""
    on: str = ""
    """``test``: at most as many held-out examples as there are to validate on. ``validation`` where none are held out;
    the scores are then optimistic."""
    skipped: str = ""
    """Why nothing was swapped back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DoneEvent(Event):
    """The study is finished."""

    kind: ClassVar[str] = "done"
    decision: str
    """The verdict's decision."""
    warnings: Sequence[str] = ()
    """By how much bills above their reservations exceeded the budget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutEvent(Event):
    """Transient. A rollout ended; only draws progress."""

    kind: ClassVar[str] = "rollout"
    example: str
    """Id of the example."""
    outcome: str
    """As in outcomes."""
    value: float | None
    """The score."""
    paid: Mapping[str, float]
    """``lm_calls``, ``tokens``, ``usd`` paid so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarningEvent(Event):
    """Transient. A message for people, such as that a budget does not cover all calls."""

    kind: ClassVar[str] = "warning"
    message: str
    """The message."""


EVENTS: tuple[type[Event], ...] = (
    ManifestEvent,
    SplitEvent,
    PlanEvent,
    RefusedEvent,
    BaselineEvent,
    CheckEvent,
    AnywayEvent,
    MeasuredPlanEvent,
    BootstrapEvent,
    GroundingEvent,
    ProposalsEvent,
    LessonsEvent,
    SpaceEvent,
    StartsEvent,
    ArrivalEvent,
    AskEvent,
    TellEvent,
    LoopEndEvent,
    ClosingEvent,
    ChoiceEvent,
    VerdictEvent,
    InsightEvent,
    DoneEvent,
    RolloutEvent,
    WarningEvent,
)
"""Every event that is known, in the order of a study; an optimizer writes only those of the steps it has."""
_BY_KIND = {event.kind: event for event in EVENTS}

R = TypeVar("R", bound=Record)
E = TypeVar("E", bound=Event)


def first(events: Iterable[Event], kind: type[E]) -> E | None:
    """Return the first event of a kind, None where there is none."""
    return next((event for event in events if isinstance(event, kind)), None)


def event_of(events: Iterable[Event], kind: type[E]) -> E:
    """Return the first event of a kind, which is there.

    Raises:
        LookupError: it is not.
    """
    found = first(events, kind)
    if found is None:
        raise LookupError(f"the study has no event {kind.kind!r} yet")
    return found


def every(events: Iterable[Event], kind: type[E]) -> list[E]:
    """Return all events of a kind."""
    return [event for event in events if isinstance(event, kind)]


def read(event: Json) -> Event:
    """Return an event as its class has it; a field that is missing has its default, or is empty."""
    name = str(event.get("event", ""))
    kind, _, part = name.partition("/")
    known = _BY_KIND.get(kind)
    given = {key: event[key] for key in ("v", "seq", "time", "transient") if key in event}
    return _record(known or UnknownEvent, event, part=part if known else name, **given)


def read_all(events: Iterable[Json]) -> list[Event]:
    """Return events as their classes have them."""
    return [read(event) for event in events]


def outcome_of(data: Json) -> Outcome:
    """Return what a rollout came to, as the journal keeps it."""
    return _record(Outcome, data)


def to_json(record: Record) -> dict[str, Any]:
    """Return a record as JSON: one that was read as it was, a new event without what the journal adds."""
    fields = _FIELDS[type(record)]
    said = {one.key: _plain(getattr(record, one.name)) for one in fields} | dict(record.unknown)
    if isinstance(record, Event):
        said |= {"v": record.v, "seq": record.seq, "event": record.name, "time": record.time, "transient": True}
    required = () if record.order else (one.key for one in fields if one.is_required)
    others = (one.key for one in fields if getattr(record, one.name) != one.absent)
    if record.order:
        return {key: said[key] for key in dict.fromkeys((*record.order, *others))}
    written = {*required, *others, *record.unknown}
    return {key: value for key, value in said.items() if key in written}


@dataclass(frozen=True, slots=True)
class Field:
    """How a field is read and written."""

    name: str
    key: str
    """Its name in JSON."""
    annotation: str
    of: type[Record] | None
    """What its items are, where these are records."""
    absent: Any
    """What it is where it is absent."""
    is_required: bool
    """Whether every event has it that this version writes."""


def fields_of(kind: type[Record]) -> tuple[Field, ...]:
    """Return the fields that a kind of record has of its own, in the order in which they are written."""
    return _FIELDS[kind]


def _find_fields(kind: type[Record]) -> Iterator[Field]:
    shared = {one.name for base in (Event, Record) for one in dataclasses.fields(base)}
    for one in dataclasses.fields(kind):
        if one.name in shared:
            continue
        annotation, meta = str(one.type), one.metadata
        empty = None if annotation.endswith("None") else _EMPTY.get(annotation.partition("[")[0])
        absent = one.default if one.default_factory is MISSING else one.default_factory()
        yield Field(
            one.name,
            meta.get("key", one.name),
            annotation,
            meta.get("of"),
            empty if absent is MISSING else absent,
            absent is MISSING or "always" in meta,
        )


_FIELDS = {kind: tuple(_find_fields(kind)) for kind in (Outcome, FullEvaluation, UnknownEvent, *EVENTS)}


def _record(kind: type[R], data: Json, **given: Any) -> R:
    values, fields = dict(given), _FIELDS[kind]
    for one in fields:
        value = data.get(one.key, one.absent)
        values[one.name] = value if one.of is None else tuple(_record(one.of, item) for item in value or ())
    known = {*(one.key for one in fields), *(_ENVELOPE if issubclass(kind, Event) else ())}
    return kind(**values, unknown={key: data[key] for key in data if key not in known}, order=tuple(data))


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return to_json(value) if isinstance(value, Record) else value
