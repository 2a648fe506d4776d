"""A world: stages with hidden rules, rows, a metric, and how often the task LM follows each rule.

Everything is a function of the kind and the seed. This module needs the standard library only, as the peers' own
environment imports it, too.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from statistics import fmean

from benchmarks.worlds.kinds import KINDS, Answer, Kind

VERSION = 2
"""Of everything that decides a result: raised whenever a world, its LMs, or its metric change."""
RULES, KNOWN = 8, 3
"""Rules of a stage, and how many of them the task LM follows unaided, most of the time."""
UNAIDED, LUCK = 0.85, 0.12
"""How often it follows a rule that it knows, and one that it does not."""
BEST = 0.95
"""The most that any prompt can bring a rule to."""
TAUGHT = 0.85
"""The most that demonstrations alone can bring a rule to."""
MISLED = 0.05
"""How often a rule is followed whose wrong counterpart is stated instead."""
UNFORMED = 0.6
"""How often the answer has the right form though nothing says so."""
TEACHER_KNOWS = 0.6
_SYLLABLES = tuple(c + v for c in "bdfgklmnprstvz" for v in "aeiou")
_TOPICS = ("queue", "priority", "region", "handler", "carrier", "warranty", "channel", "refund")
_FORMS = ("capitals", "brackets", "plain")


@dataclass(frozen=True, slots=True)
class Rule:
    """If a note has all ``words`` then the stage's answer is, or contains, ``answer``."""

    stage: str
    number: int
    words: frozenset[str]
    """What a sentence must contain, beside the answer, to state the rule."""
    answer: str
    condition: str
    """The condition as people put it."""
    known: bool
    """Whether the task LM follows it unaided."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One LM call of the program."""

    name: str
    index: int
    answers: Answer
    labels: tuple[str, ...]
    rules: tuple[Rule, ...]
    fillers: tuple[str, ...]
    form: str
    """``plain``, or how the answer must be written: in ``capitals`` or ``brackets``."""

    @property
    def note(self) -> str:
        """The name of the column that feeds it."""
        return f"note_{self.index + 1}"

    @property
    def instruction(self) -> str:
        """The original instruction."""
        options = ", ".join(self.labels)
        return {
            "label": f"Read the note and choose the {self.name} that fits, out of: {options}.",
            "labels": f"Read the note and choose the two {self.name} labels that fit, out of: {options}.",
            "number": f"Read the note and give the {self.name} as a number.",
            "text": f"Read the note and write a sentence on the {self.name} with the two words that fit: {options}.",
        }[self.answers]

    def draws(self) -> list[tuple[tuple[Rule, ...], float]]:
        """Return the sets of rules that can decide a case, each with its probability."""
        if self.answers in ("label", "number"):
            return [((rule,), 1 / len(self.rules)) for rule in self.rules]
        found: list[tuple[tuple[Rule, ...], float]] = []
        for first in self.rules:
            seconds = [rule for rule in self.rules if rule.answer != first.answer and not first.words & rule.words]
            found += [((first, second), 1 / len(self.rules) / len(seconds)) for second in seconds]
        return found

    def written(self, pieces: Sequence[str]) -> str:
        """Return the answer made of these pieces, in the stage's form."""
        text = ", ".join(sorted(pieces))
        if self.answers == "text":
            text = f"We will see to {' and '.join(sorted(pieces))}."
        return {"capitals": text.upper(), "brackets": f"<{text}>", "plain": text}[self.form]


@dataclass(frozen=True, slots=True)
class Case:
    """What one call of a stage is about."""

    text: str
    rules: tuple[Rule, ...]
    """The rules that decide it."""


@dataclass(frozen=True, slots=True)
class Row:
    """One example: for each stage its cases (several for a stage in a loop)."""

    number: int
    cases: Mapping[str, tuple[Case, ...]]


@dataclass(frozen=True, slots=True)
class Knowledge:
    """What a prompt tells the task LM about one stage; ``reading.knowledge`` finds it."""

    right: frozenset[Rule] = frozenset()
    """Rules that the instruction states."""
    wrong: frozenset[Rule] = frozenset()
    """Rules that it states with a wrong answer."""
    statements: int = 0
    """How many rules it states in all, right or wrong, of this stage or another."""
    shown: Mapping[Rule, int] | None = None
    """Demonstrations of each rule whose answer is right."""
    form: bool = False
    """Whether the form is stated or shown."""
    original: bool = True
    """Whether the prompt is the original one: its instruction, and no demonstrations."""


@dataclass(frozen=True, slots=True)
class Scored:
    """What the metric says of a run."""

    value: float
    feedback: str
    by_stage: Mapping[str, tuple[float, str]]
    """The same for each stage; empty where stages cannot be judged."""


@dataclass(frozen=True)
class World:
    """One world: its kind, its seed, and all that follows from them."""

    name: str
    seed: int
    kind: Kind
    stages: tuple[Stage, ...]

    @property
    def calls_per_run(self) -> int:
        """LM calls of one program run."""
        return len(self.stages) + self.kind.loop - 1

    def stage(self, name: str) -> Stage:
        """Return the stage of that name."""
        return next(stage for stage in self.stages if stage.name == name)

    def row(self, number: int) -> Row:
        """Return the row of that number, from 1."""
        draw = random.Random(f"{self.name}/{self.seed}/row/{number}")
        cases = {}
        for stage in self.stages:
            times = self.kind.loop if stage.index == 0 else 1
            cases[stage.name] = tuple(
                _case(stage, f"{number}-{stage.index + 1}{'abcdefgh'[turn] if times > 1 else ''}", draw)
                for turn in range(times)
            )
        return Row(number, cases)

    def columns(self, row: Row) -> dict[str, object]:
        """Return the row as data: a column for each note and, unless blind, for each label."""
        columns: dict[str, object] = {"number": row.number}
        for stage in self.stages:
            cases = row.cases[stage.name]
            answers = [right_answer(stage, case) for case in cases]
            columns[stage.note] = [case.text for case in cases] if len(cases) > 1 else cases[0].text
            if not self.kind.blind:
                columns[stage.name] = answers if len(cases) > 1 else answers[0]
        if self.kind.blind:
            columns["code"] = code_word(*(right_answer(s, c) for s in self.stages for c in row.cases[s.name]))
        return columns

    def score(self, number: int, prediction: Mapping[str, object]) -> Scored:
        """Return what the metric says of what the program returned for the row of that number."""
        row = self.row(number)
        if self.kind.null == "metric ignores output":
            return Scored(float(share(f"{self.seed}/coin/{number}") < 0.5), "", {})
        if self.kind.blind:
            return Scored(float(prediction["code"] == self.columns(row)["code"]), "", {})
        answers = {stage.name: listed(prediction[stage.name]) for stage in self.stages}
        by_stage: dict[str, tuple[float, str]] = {}
        for stage in self.stages:
            graded = [
                (stage_score(stage, case, said), self._feedback(stage, case, said))
                for case, said in zip(row.cases[stage.name], [*answers[stage.name], "", "", ""], strict=False)
            ]
            by_stage[stage.name] = (prod(value for value, _ in graded), " ".join(text for _, text in graded if text))
        value = self.join([v for name, (v, _) in by_stage.items() if self.stage(name).index != self.kind.idle])
        counted = [text for name, (_, text) in by_stage.items() if text and self.stage(name).index != self.kind.idle]
        return Scored(value, " ".join(counted), by_stage)

    def _feedback(self, stage: Stage, case: Case, said: str) -> str:
        if self.kind.feedback == "none" or stage_score(stage, case, said) == 1.0:
            return ""
        note = case.text.partition(":")[0]
        if self.kind.feedback == "answers":
            return f"The right {stage.name} for {note} is {right_answer(stage, case)}."
        sentences = []
        for rule in case.rules:
            answer = rule.answer
            if share(f"{self.seed}/reason/{note}/{rule.number}") < self.kind.wrong_reasons:
                answer = other_answer(stage, rule, f"{self.seed}/{note}")
            sentences.append(f"In {note} {rule.condition}, so the {stage.name} is {answer}.")
        if stage.form != "plain" and not well_formed(stage, said):
            sentences.append(f"The {stage.name} of {note} must be written in {stage.form}.")
        return " ".join(sentences)

    def chance(self, stage: Stage, rule: Rule, prompt: Knowledge) -> float:
        """Return how often the task LM follows a rule, given what its prompt tells."""
        unaided = UNAIDED if rule.known else LUCK
        kind = self.kind
        if kind.null == "nothing helps" or kind.null == "metric ignores output":
            return unaided
        if kind.null == "original is best":
            return unaided if prompt.original else 0.9 * unaided
        stated = 0.0
        if rule in prompt.right:
            stated = max(0.0, kind.obeys - kind.burden * max(0, prompt.statements - kind.free))
        shown = min(TAUGHT, 1 - (1 - kind.teaches) ** (prompt.shown or {}).get(rule, 0))
        chance = max(unaided, 1 - (1 - stated) * (1 - shown))
        if rule in prompt.wrong:
            chance = (chance + MISLED) / 2 if rule in prompt.right or shown else MISLED
        return min(BEST, max(MISLED, chance - kind.misfire * len(prompt.wrong - {rule})))

    def formed(self, stage: Stage, prompt: Knowledge) -> float:
        """Return how often the answer has the right form."""
        return 1.0 if stage.form == "plain" else BEST if prompt.form else UNFORMED

    def stage_accuracy(self, stage: Stage, prompt: Knowledge) -> float:
        """Return the expected score of one call of a stage on a fresh row."""
        chance = {rule: self.chance(stage, rule, prompt) for rule in stage.rules}
        join = fmean if stage.answers == "text" else prod
        return self.formed(stage, prompt) * sum(
            weight * join(chance[rule] for rule in rules) for rules, weight in stage.draws()
        )

    def accuracy(self, prompts: Mapping[str, Knowledge]) -> float:
        """Return the expected score of the program on fresh rows: computed, not sampled."""
        if self.kind.null == "metric ignores output":
            return 0.5
        return self.join(
            [
                self.stage_accuracy(stage, prompts[stage.name]) ** (self.kind.loop if stage.index == 0 else 1)
                for stage in self.stages
                if stage.index != self.kind.idle
            ]
        )

    def join(self, values: Sequence[float]) -> float:
        """Return the score of a program from those of its stages."""
        return fmean(values) if self.kind.graded else prod(values)

    def original(self) -> float:
        """Return the accuracy of the original prompts."""
        return self.accuracy({stage.name: Knowledge() for stage in self.stages})

    def possible(self) -> float:
        """Return the accuracy of the best prompts: rules that are not known stated, all shown, none wrong."""

        def full(rules: Sequence[Rule], shown: Sequence[Rule]) -> Knowledge:
            demos = dict.fromkeys(shown, 3)
            return Knowledge(frozenset(rules), frozenset(), len(rules), demos, form=True, original=False)

        best = [self.original()]
        for unknown_only in (True, False):
            stated = {s.name: [r for r in s.rules if not (unknown_only and r.known)] for s in self.stages}
            best.append(self.accuracy({s.name: full(stated[s.name], s.rules) for s in self.stages}))
        return max(best)


@lru_cache(maxsize=64)
def world(name: str, seed: int) -> World:
    """Return the world of that kind and seed.

    Raises:
        KeyError: there is no such kind.
    """
    kind = KINDS[name]
    draw = random.Random(f"{name}/{seed}/world")
    words = iter(_words(draw, 40 * len(kind.answers)))
    stages = []
    for index, answers in enumerate(kind.answers):
        take = [next(words) for _ in range(40)]
        stages.append(_stage(index, answers, take, draw, formed=kind.formats))
    return World(name, seed, kind, tuple(stages))


def code_word(*answers: str) -> str:
    """Return a word that only equal answers share, and that shows nothing else of them."""
    return _word(random.Random(repr([answer.strip().lower() for answer in answers])), 4)


def listed(answer: object) -> list[str]:
    """Return a stage's answers: one, or those of its loop."""
    return [str(one) for one in answer] if isinstance(answer, list | tuple) else [str(answer)]


def right_answer(stage: Stage, case: Case) -> str:
    """Return the right answer of a case, as it should be written."""
    return stage.written([rule.answer for rule in case.rules])


def other_answer(stage: Stage, rule: Rule, salt: str, taken: Collection[str] = ()) -> str:
    """Return one of the answers that are wrong for a rule, and not ``taken``."""
    wrong = [label for label in stage.labels if label != rule.answer and label not in taken]
    return wrong[int(share(f"{salt}/{rule.stage}/{rule.number}/other") * len(wrong))]


def stage_score(stage: Stage, case: Case, said: str) -> float:
    """Return the score of one answer: right or wrong, or for free text the share of what should be in it."""
    if not well_formed(stage, said):
        return 0.0
    wanted, given = {rule.answer for rule in case.rules}, pieces(stage, said)
    if stage.answers == "text":
        return len(wanted & given) / len(wanted)
    return float(wanted == given)


def well_formed(stage: Stage, said: str) -> bool:
    """Return whether an answer is written in the stage's form."""
    said = said.strip()
    return {
        "plain": True,
        "capitals": said == said.upper(),
        "brackets": said.startswith("<") and said.endswith(">"),
    }[stage.form]


def pieces(stage: Stage, said: str) -> set[str]:
    """Return the labels or numbers that an answer is made of."""
    if stage.answers == "text":
        return set(re.findall(r"\w+", said.lower())) & set(stage.labels)
    return {piece.strip(" <>\"'.[]").lower() for piece in said.split(",") if piece.strip()}


def _stage(index: int, answers: Answer, words: Sequence[str], draw: random.Random, *, formed: bool) -> Stage:
    name = _TOPICS[index]
    labels = tuple(words[:5])
    if answers == "number":
        labels = tuple(str(number) for number in draw.sample(range(1100, 2000), 5))  # no amount is so large
    triggers, fillers = words[5:20], tuple(words[20:])
    threshold = draw.randrange(400, 700, 10)
    conditions: list[tuple[frozenset[str], str]] = []
    for trigger in triggers[:5]:
        conditions.append((frozenset({trigger}), f"there is {trigger}"))
    conditions.append((frozenset({triggers[5], triggers[6]}), f"there is both {triggers[5]} and {triggers[6]}"))
    conditions.append((frozenset({triggers[0], triggers[7]}), f"there is {triggers[0]} but with {triggers[7]}"))
    conditions.append((frozenset({"amount", str(threshold)}), f"the amount is above {threshold}"))
    known = set(draw.sample((1, 2, 3, 4, 5), KNOWN))
    rules: list[Rule] = []
    for number, (needed, condition) in enumerate(conditions):
        choices = [label for label in labels if number != 6 or label != rules[0].answer]  # an exception differs
        rules.append(Rule(name, number, needed, draw.choice(choices), condition, number in known))
    form = draw.choice(_FORMS[:2]) if formed and answers != "number" else "plain"
    return Stage(name, index, answers, labels, tuple(rules), fillers, form)


def _case(stage: Stage, number: str, draw: random.Random) -> Case:
    sets, weights = zip(*stage.draws(), strict=True)
    rules = draw.choices(sets, weights)[0]
    thresholds = [rule for rule in stage.rules if "amount" in rule.words]
    above = any(rule in rules for rule in thresholds)
    limit = int(next(word for word in thresholds[0].words if word != "amount"))
    amount = limit + draw.randrange(20, 300) if above else limit - draw.randrange(20, 300)
    words = {word for rule in rules if "amount" not in rule.words for word in rule.words}
    words |= set(draw.sample(stage.fillers, 3))
    items = draw.sample(sorted(words), len(words))
    return Case(f"Note {number}: {', '.join(items)}, amount {amount} kg", tuple(sorted(rules, key=lambda r: r.number)))


def _words(draw: random.Random, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[_word(draw, 3)] = None
    return list(found)


def _word(draw: random.Random, syllables: int) -> str:
    return "".join(draw.choice(_SYLLABLES) for _ in range(syllables))


def share(text: str) -> float:
    """Return a number in [0, 1) that is a function of the text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
