"""What a text tells of a world's rules, whatever its layout: cases with answers beside them, and rules stated.

Nothing here knows the wording of any tool. A *case* is a note's own text (it begins ``Note 12-1:`` and ends ``kg``);
what stands between it and the next row's is taken to speak of it, but for sentences that name all labels there are,
or state a rule. A *statement* is a sentence outside of cases
with a rule's trigger and an answer; if the sentence names a note it is a *reason*, given for that note.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from benchmarks.worlds.world import Knowledge, Rule, Stage, World

CASE = re.compile(r"Note (\d+-\d+[a-h]?): ([^:\n\"]*?), amount (\d+) kg")
_NAMED = re.compile(r"[Nn]ote \d+-\d+[a-h]?")
_SENTENCE = re.compile(r"(?<=[.;!?])[\"'\])},]*\s+|\n")
"""Where a sentence ends, also within a quoted one of a list."""
_WORD = re.compile(r"[a-z]+|\d+")
_ESCAPED = (("\\n", "\n"), ('\\"', '"'), ("\\u003c", "<"), ("\\u003e", ">"))


@dataclass(frozen=True, slots=True)
class Found:
    """A case in a text, with the words that follow it up to the next row's."""

    note: str
    stage: Stage
    rules: tuple[Rule, ...]
    after: frozenset[str]


@dataclass(frozen=True, slots=True)
class Statement:
    """A sentence that states a rule, or its wrong counterpart."""

    rule: Rule
    answer: str
    reason: bool
    """Whether it is given for one note."""

    @property
    def right(self) -> bool:
        """Whether the answer is the rule's."""
        return self.answer == self.rule.answer


@dataclass(frozen=True, slots=True)
class Reading:
    """All that a text tells."""

    cases: tuple[Found, ...]
    statements: tuple[Statement, ...]
    forms: frozenset[str]
    """The stages of which a sentence says how the answer must be written."""


@lru_cache(maxsize=8192)
def read(world: World, text: str) -> Reading:
    """Read a text."""
    for escaped, plain in _ESCAPED:
        text = text.replace(escaped, plain)
    cases: list[Found] = []
    rest: list[str] = []
    matches = list(CASE.finditer(text))
    rest.append(text[: matches[0].start()] if matches else text)
    for index, match in enumerate(matches):
        following = matches[index + 1 :]
        rest.append(text[match.end() : following[0].start() if following else len(text)])
        row = match[1].split("-")[0]
        ends = next((other.start() for other in following if other[1].split("-")[0] != row), len(text))
        after = CASE.sub(" ", text[match.end() : ends])  # a row's answers may all stand after its last case
        found = case_in(world, match)
        if found is not None:
            cases.append(Found(match[1], found[0], found[1], told(world, found[0], after)))
    statements: list[Statement] = []
    forms: set[str] = set()
    for sentence in _SENTENCE.split("\n".join(rest)):
        reason = bool(_NAMED.search(sentence))
        words = frozenset(words_of(_NAMED.sub(" ", sentence)))
        statements += [Statement(rule, answer, reason) for rule, answer in stated(world, words)]
        forms |= {s.name for s in world.stages if s.form != "plain" and s.name in words and s.form in words}
    return Reading(tuple(cases), tuple(dict.fromkeys(statements)), frozenset(forms))


def told(world: World, stage: Stage, text: str) -> frozenset[str]:
    """Return the words of what tells of the case before it: no sentence that names all labels, or states a rule."""
    found: set[str] = set()
    for sentence in _SENTENCE.split(text):
        words = frozenset(words_of(_NAMED.sub(" ", sentence)))
        if words.issuperset(stage.labels) or (stated(world, words) and not _NAMED.search(sentence)):
            continue
        found |= words
    return frozenset(found)


def case_in(world: World, match: re.Match[str]) -> tuple[Stage, tuple[Rule, ...]] | None:
    """Return the stage of a case, and the rules that decide it: the most special ones that its text fits."""
    index = int(match[1].split("-")[1].rstrip("abcdefgh")) - 1
    if index >= len(world.stages):
        return None
    stage, words, amount = world.stages[index], set(words_of(match[2])), int(match[3])
    fitting = [rule for rule in stage.rules if fits(rule, words, amount)]
    return stage, tuple(r for r in fitting if not any(r.words < other.words for other in fitting))


def fits(rule: Rule, words: set[str], amount: int) -> bool:
    """Return whether a rule's condition holds."""
    if "amount" in rule.words:
        return amount > int(next(word for word in rule.words if word != "amount"))
    return rule.words <= words


def stated(world: World, words: frozenset[str]) -> list[tuple[Rule, str]]:
    """Return the rules whose triggers a sentence has, each with the answer that it gives."""
    found: list[tuple[Rule, str]] = []
    for stage in world.stages:
        answers = [label for label in stage.labels if label in words]
        if not answers or len(answers) == len(stage.labels):  # a list of all there are says nothing
            continue
        met = [rule for rule in stage.rules if rule.words <= words]
        for rule in met:
            if not any(rule.words < other.words for other in met):
                found.append((rule, rule.answer if rule.answer in answers else answers[0]))
    return found


def words_of(text: str) -> list[str]:
    """Return the words and numbers of a text, in lower case."""
    return _WORD.findall(text.lower())


@lru_cache(maxsize=1024)
def knowledge(world: World, stage: Stage, instruction: str, demos: tuple[tuple[str, str], ...]) -> Knowledge:
    """Return what a prompt tells the task LM of its stage.

    Args:
        world: the world.
        stage: the stage that is called.
        instruction: all that stands before the demonstrations.
        demos: pairs of what was asked and answered.
    """
    reading = read(world, instruction)
    pairs = [*((case.rules, case.stage, case.after) for case in reading.cases)]
    for asked, answered in demos:
        asked_cases = read(world, asked).cases
        pairs += [(case.rules, case.stage, frozenset(words_of(answered))) for case in asked_cases[-1:]]
    shown: dict[Rule, int] = {}
    for rules, owner, words in pairs:
        for rule in rules:
            if owner == stage and rule.answer in words:
                shown[rule] = shown.get(rule, 0) + 1
    own = [statement for statement in reading.statements if statement.rule.stage == stage.name]
    sample = " ".join(answered for _, answered in demos)
    return Knowledge(
        right=frozenset(s.rule for s in own if s.right),
        wrong=frozenset(s.rule for s in own if not s.right),
        statements=len(reading.statements),
        shown=shown,
        form=stage.name in reading.forms or (bool(demos) and _formed(stage, sample)),
        original=not demos and " ".join(stage.instruction.split()) in " ".join(instruction.split()) and not own,
    )


def _formed(stage: Stage, answers: str) -> bool:
    if stage.form == "capitals":
        return any(label.upper() in answers for label in stage.labels)
    return stage.form == "brackets" and "<" in answers and ">" in answers
