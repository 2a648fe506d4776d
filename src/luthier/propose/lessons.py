"""Lessons: rules in plain words that a proposer states after reading what one predictor got wrong.

Stating lessons and rewriting an instruction are apart: an instruction is *written* from the original and the lessons
that hold, so that every line of it has evidence of its own.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import log
from typing import TYPE_CHECKING, Any

from luthier.evaluation.rollout import Outcome, Rollout
from luthier.program.thoughts import written_after_thoughts
from luthier.propose.fields import Subject, named_text, shown, value_text
from luthier.propose.proposer import Proposer, side_by_side
from luthier.propose.training_text import TrainingText
from luthier.propose.wording import words_of

if TYPE_CHECKING:
    from luthier.evaluation.data import Row
    from luthier.program.signature import Field, Signature

BATCH, CONTRAST = 8, 2
"""Mistakes that one request shows, and right answers beside them."""
TOKENS = 4000
"""Longest answer of one request."""
LONGEST = 800
"""Characters of a rule; what is longer is a rewritten instruction."""
_VALUE = 1200
"""Characters of a value that are shown; the middle of a longer one is left out."""
_ALIKE = 0.6
"""From this share of common words on, two rules are one."""
_BULLET = re.compile(r"^\s*(?:[-*•]|\d{1,2}[.)])\s+(.*\S)\s*$")
_NAMED = re.compile(r"\bE(\d{1,3})\b")


@dataclass(frozen=True, slots=True)
class Reading:
    """What one predictor was given and answered in one run, and what is known of it.

    Attributes:
        example: the row's id.
        inputs: of each of its calls, private fields left out.
        outputs: of each of its calls; None where the answer could not be read.
        right: what it should have answered, where the row says so.
        feedback: what the metric said.
        passed: whether this predictor did its part right, as far as is known.
        value: what the metric gave this predictor, else the whole run.
    """

    example: str
    inputs: tuple[Mapping[str, Any], ...]
    outputs: tuple[Mapping[str, Any] | None, ...]
    right: Mapping[str, Any] | None
    feedback: str
    passed: bool
    value: float

    @property
    def text(self) -> str:
        """What it was given, what it answered, and what was said of it, as a proposer reads it."""
        lines = []
        for inputs, outputs in zip(self.inputs, self.outputs, strict=True):
            lines.append(named_text({name: middle_cut(value) for name, value in inputs.items()}))
            answered = {} if outputs is None else outputs
            lines += [f"answered {name}: {middle_cut(value)}" for name, value in answered.items()]
            lines += ["answered: what could not be read"] if outputs is None else []
        if not self.passed:
            lines += [f"right {name}: {middle_cut(value)}" for name, value in (self.right or {}).items()]
        return "\n".join([*lines, *([f"feedback: {middle_cut(self.feedback)}"] if self.feedback else [])])


@dataclass(frozen=True, slots=True)
class Lesson:
    """One rule for one predictor, and what speaks for it.

    Attributes:
        predictor: whose instruction it is for.
        rule: in plain words.
        examples: ids of the training rows it came from: those the proposer named, else those it speaks of.
        support: how many requests it was stated in.
        verdict: ``stated``, until it is checked; then ``held``, ``open``, or ``dropped``.
        why: why it was dropped.
        fixed: ids of rows that failed, and passed with this rule alone.
        tried: how many such rows were run.
        broken: ids of rows that passed, and failed with it.
        chance: probability that it brings more than running the rows again.
    """

    predictor: str
    rule: str
    examples: tuple[str, ...]
    support: int = 1
    verdict: str = "stated"
    why: str = ""
    fixed: tuple[str, ...] = ()
    tried: int = 0
    broken: tuple[str, ...] = ()
    chance: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return the lesson as JSON."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> Lesson:
        """Read a lesson back."""
        lists = {name: tuple(data[name]) for name in ("examples", "fixed", "broken")}
        return Lesson(**{**data, **lists})


def readings(
    rollouts: Sequence[Rollout],
    rows: Mapping[str, Row],
    signature: Signature,
    hidden: frozenset[str],
    judged: Mapping[str, float] | None = None,
) -> list[Reading]:
    """Return what a predictor did in each rollout that called it.

    Whether it did its part is known from its own metric, else from feedback that names predictors, else from the run.

    Args:
        rollouts: scored runs of the program.
        rows: all rows by id.
        signature: the predictor's.
        hidden: names that are private.
        judged: by example, what the predictor's own metric gave it.
    """
    bar = failing_below([rollout.value for rollout in rollouts if rollout.score is not None])
    own_bar = failing_below(list((judged or {}).values()))
    given, made = shown(signature.inputs, hidden), shown(signature.outputs, hidden)
    found = []
    for rollout in rollouts:
        calls = [call for call in rollout.trace.calls if call.predictor == signature.name]
        if rollout.score is None or not calls or rollout.outcome is Outcome.ERROR:
            continue
        row = rows[rollout.job.example]
        said = rollout.score.feedback
        named = None if isinstance(said, str) else said.get(signature.name, "")
        passed, value = rollout.value >= bar or (bool(said) and named == ""), rollout.value
        if judged is not None and row.id in judged:
            value = judged[row.id]
            passed = value >= own_bar
        labels = {name: label for name, label in row.labels.items() if name not in hidden and label is not None}
        own = {field.name: labels[field.name] for field in made if field.name in labels}
        found.append(
            Reading(
                row.id,
                tuple(_only(call.inputs, given) for call in calls),
                tuple(None if call.outputs is None else _only(call.outputs, made) for call in calls),
                own or labels or None,
                said if isinstance(said, str) else named or "",
                passed,
                value,
            )
        )
    return found


def _only(values: Mapping[str, Any], fields: Sequence[Field]) -> dict[str, Any]:
    return {field.name: values[field.name] for field in fields if field.name in values}


def failing_below(values: Sequence[float]) -> float:
    """Return the score below which a run failed: 1, or the median where a full score is rare (graded metrics)."""
    if not values or sum(value >= 1.0 for value in values) * 20 >= len(values) or set(values) <= {0.0, 1.0}:
        return 1.0
    return sorted(values)[len(values) // 2]


def batches(found: Sequence[Reading], rows: Mapping[str, Row], *, most: int) -> list[list[Reading]]:
    """Return mistakes in at most ``most`` batches of equal size, each with as many kinds as there are."""
    kinds: dict[str, list[Reading]] = {}
    for reading in found:
        right = "" if reading.right is None else value_text(reading.right)
        kinds.setdefault(rows[reading.example].stratum or right[:200], []).append(reading)
    turns = sorted((nth, kind) for kind, own in kinds.items() for nth in range(len(own)))
    ordered = [kinds[kind][nth] for nth, kind in turns]
    count = min(most, -(-len(ordered) // BATCH))
    size = min(BATCH, -(-len(ordered) // count)) if count else 0
    return [ordered[n * size : (n + 1) * size] for n in range(count)]


async def state_lessons(  # noqa: PLR0913 - one argument per ingredient
    proposer: Proposer,
    subject: Subject,
    instruction: str,
    found: Sequence[Reading],
    rows: Mapping[str, Row],
    *,
    before: Sequence[Lesson],
    training: TrainingText,
    most_calls: int,
    first_sample: int = 0,
) -> list[Lesson]:
    """Have the proposer state rules that one predictor lacks, from its mistakes in batches; equal ones merged.

    Args:
        proposer: who states them.
        subject: the predictor.
        instruction: its instruction today.
        found: what it did, right and wrong.
        rows: all rows by id.
        before: what was learned in earlier rounds; nothing of it comes again, dropped ones neither.
        training: what no lesson may quote.
        most_calls: requests at most.
        first_sample: tells draws of equal requests apart.
    """
    wrong, right = [one for one in found if not one.passed], [one for one in found if one.passed]
    groups = batches(wrong, rows, most=most_calls)
    known = [lesson.rule for lesson in before if lesson.verdict != "dropped"]
    requests = [
        lesson_prompt(subject, instruction, group, _some(right, CONTRAST, turn), known)
        for turn, group in enumerate(groups)
    ]
    answers = await side_by_side(
        [proposer.ask(request, max_tokens=TOKENS, sample=first_sample + n) for n, request in enumerate(requests)]
    )
    weights = term_weights([*wrong, *right])
    stated = [
        Lesson(subject.name, rule, named or spoken_of(rule, group, weights))
        for group, answer in zip(groups, answers, strict=True)
        for rule, named in read_lessons(answer, [one.example for one in group])
    ]
    telling = telling_words(found)
    new = [one for one in merged(stated, telling) if not any(alike(one.rule, other.rule, telling) for other in before)]
    return [_checked(lesson, training, instruction) for lesson in new]


def lesson_prompt(
    subject: Subject,
    instruction: str,
    wrong: Sequence[Reading],
    right: Sequence[Reading],
    known: Sequence[str],
) -> str:
    """Return the request for the rules that would have mended a batch of mistakes."""
    parts = [
        "A program solves a task with calls to a language model. One of these calls, the module below, made mistakes. "
        "Find out which rules it lacks.",
        f"MODULE:\n{subject.name}: it {subject.facts}",
        f"ITS INSTRUCTION:\n{instruction or '(none)'}",
        "RULES IT KNOWS ALREADY:\n" + "\n".join(f"- {rule}" for rule in known) if known else "",
        "RIGHT ANSWERS:\n" + "\n\n".join(one.text for one in right) if right else "",
        "MISTAKES:\n" + "\n\n".join(f"E{n}\n{one.text}" for n, one in enumerate(wrong, 1)),
        "State every rule that these mistakes show to be missing: each by itself, in one or two sentences, as it "
        "should stand in the instruction, with the condition under which it holds and what is to be answered then. "
        "A rule must help on other inputs, so name no single example in it. State what the examples bear out, "
        "nothing else, and repeat no rule that is known.\n"
        'Answer with a JSON array of objects with the keys "rule" and "examples", the latter a list of the mistakes '
        "it would have prevented, such as E1, and nothing else.",
    ]
    return "\n\n".join(filter(None, parts))


def read_lessons(answer: str, examples: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the rules in an answer, JSON, a list, or prose, each with the ids of the examples that it names.

    Args:
        answer: the proposer's.
        examples: ids of the mistakes it was shown, E1 first.
    """
    text = written_after_thoughts(answer).strip()
    found: list[tuple[str, str]] = []
    for item in _json_items(text):
        if isinstance(item, str):
            found.append((item, ""))
        elif isinstance(item, Mapping):
            texts = {str(key).lower(): value for key, value in item.items()}
            rule = texts.get("rule") or next((value for value in texts.values() if isinstance(value, str)), "")
            found.append((str(rule), " ".join(_named_examples(texts.get("examples")))))
    if not found:
        lines = [match[1] for line in text.splitlines() if (match := _BULLET.match(line))]
        found = [(line, line) for line in lines] or [(part, part) for part in re.split(r"\n\s*\n", text) if part]
    rules = []
    for rule, named in found:
        plain = " ".join(_NAMED.sub("", rule).replace("()", "").split()).strip("*` ")
        numbers = dict.fromkeys(int(number) for number in _NAMED.findall(named))
        if len(words_of(plain)) >= 3 and len(plain) <= LONGEST:
            rules.append((plain, tuple(examples[n - 1] for n in numbers if 0 < n <= len(examples))))
    return rules


def merged(lessons: Sequence[Lesson], telling: Collection[str]) -> list[Lesson]:
    """Return lessons with those that say the same made one, its examples and support added up."""
    kept: list[Lesson] = []
    for lesson in lessons:
        same = next((n for n, other in enumerate(kept) if alike(lesson.rule, other.rule, telling)), None)
        if same is None:
            kept.append(lesson)
            continue
        examples = tuple(dict.fromkeys((*kept[same].examples, *lesson.examples)))
        kept[same] = replace(kept[same], examples=examples, support=kept[same].support + lesson.support)
    return kept


def alike(one: str, other: str, telling: Collection[str]) -> bool:
    """Whether two rules say the same: mostly the same words, and the same telling words and numbers."""
    words, others = set(words_of(one)), set(words_of(other))
    apart = {word for word in words ^ others if word in telling or word[0].isdigit()}
    return not apart and len(words & others) > _ALIKE * len(words | others)


def telling_words(found: Sequence[Reading]) -> frozenset[str]:
    """Return the words of inputs and answers that tell examples apart: those of less than half of them."""
    texts = [{*_input_words(one), *words_of(named_text(one.right or {}))} for one in found]
    counts = Counter(word for text in texts for word in text)
    return frozenset(word for word, count in counts.items() if 2 * count < len(texts))


def with_lessons(instruction: str, lessons: Sequence[Lesson]) -> str:
    """Return an instruction with rules written below it, the best supported first."""
    if not lessons:
        return instruction
    rules = [f"- {lesson.rule}" for lesson in sorted(lessons, key=lambda lesson: -lesson.support)]
    return "\n".join([*([instruction, ""] if instruction else []), "Rules:", *rules])


def term_weights(found: Sequence[Reading]) -> dict[str, float]:
    """Return how telling each word of a predictor's inputs is: rare ones more (inverse document frequency)."""
    counts = Counter(word for one in found for word in _input_words(one))
    return {word: log((1 + len(found)) / count) for word, count in counts.items()}


def relevance(rule: str, reading: Reading, weights: Mapping[str, float]) -> float:
    """Return how much a rule speaks of what a predictor was given: the weight of the words they share."""
    return sum(weights.get(word, 0.0) for word in _input_words(reading) & set(words_of(rule)))


def spoken_of(rule: str, group: Sequence[Reading], weights: Mapping[str, float]) -> tuple[str, ...]:
    """Return the ids of the examples a rule speaks of most; all of its batch where it speaks of none."""
    scores = {one.example: relevance(rule, one, weights) for one in group}
    best = max(scores.values(), default=0.0)
    near = [example for example, score in scores.items() if score > 0.0 and score >= best / 2]
    return tuple(near or scores)


def middle_cut(value: Any) -> str:
    """Return a value as text, the middle left out where it is long."""
    text = value_text(value)
    if len(text) <= _VALUE:
        return text
    half = _VALUE // 2
    return f"{text[:half].rstrip()} […{len(text) - 2 * half} characters left out…] {text[-half:].lstrip()}"


def _checked(lesson: Lesson, training: TrainingText, instruction: str) -> Lesson:
    if training.holds_private(lesson.rule):
        return replace(lesson, rule="(not shown)", verdict="dropped", why="holds a private value")
    if training.quoted(lesson.rule, allowed=instruction):
        return replace(lesson, verdict="dropped", why="quotes a single example")
    return lesson


def _json_items(text: str) -> Sequence[Any]:
    """Return the items of the first JSON array in a text, or of an object's first list; none where there is none."""
    for start, end in (("[", "]"), ("{", "}")):
        first, last = text.find(start), text.rfind(end)
        if first < 0 or last < first:
            continue
        try:
            data = json.loads(text[first : last + 1])
        except ValueError:
            continue
        if isinstance(data, list):
            return data
        inner = next((value for value in data.values() if isinstance(value, list)), None)
        return [data] if inner is None or "rule" in data else inner
    return ()


def _named_examples(value: Any) -> list[str]:
    if isinstance(value, list):
        return [f"E{item}" if isinstance(item, int) else str(item) for item in value]
    return [value] if isinstance(value, str) else []


def _input_words(reading: Reading) -> set[str]:
    return {word for inputs in reading.inputs for word in words_of(named_text(inputs))}


def _some(found: Sequence[Reading], count: int, turn: int) -> list[Reading]:
    return [found[(turn * count + n) % len(found)] for n in range(min(count, len(found)))]
