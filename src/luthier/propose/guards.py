"""Guards: what is wrong with a proposed instruction, if anything.

They protect a study from answers that are no instruction, and leave taste alone: a long text, rules that the data
summary has, lists of labels, examples of form, braces, and code are what good instructions are made of. Proposers
below 3B parameters get further guards (``small_guards``).
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Collection, Sequence

from luthier.lm.profile import Profile
from luthier.program.text import Guard
from luthier.propose import small_guards
from luthier.propose.fields import Subject
from luthier.propose.meta_prompts import HEADINGS
from luthier.propose.training_text import TrainingText
from luthier.propose.wording import normalized, runs, words_of

_ECHO_WORDS = 7
_OUR_WORDS = frozenset(["demo", "demos", "instruction", "instructions", "model", "module", "modules", "program", "tip"])
"""A run of words from a meta-prompt is told by one of these; others, such as "no title, no quotation marks", are
what a good instruction may ask for as well."""
_LEAST_WORDS, _LEAST_CHARACTERS = 3, 20
_LOOP_WORDS = 12
_LOOP_RUNS = 20
_REFUSAL_WORDS = 150

_HEADING = re.compile(rf"^[\W_]*({'|'.join(map(re.escape, HEADINGS))})[^\n:]*:[\W_]*$", re.MULTILINE)
_UNABLE = (
    r"(?:can ?not|can[’']?t|could not|couldn[’']?t|will not|won[’']?t|must decline to|decline to|"
    r"(?:am|['’]m) (?:unable|not able|not allowed) to)"
)
_VERB = (
    r"(?:access|answer|assist|classify|complete|comply|continue|create|determine|discuss|do|engage|extract|follow|"
    r"fulfill?|generate|give|help|make|offer|participate|process|produce|propose|provide|rate|recommend|see|share|"
    r"solve|support|write)"
)
_REFUSAL = re.compile(
    r"^\W*(?:(?:i am|i['’]m|we are|we['’]re) (?:\w+ )?sorry\b|sorry, (?:but )?i\b|i apologi[sz]e\b|"
    r"as an? (?:ai|artificial intelligence|large language model|language model)\b[^.\n]{0,60}?,? i(?:['’]m)?\b|"
    rf"(?:unfortunately,? )?i {_UNABLE} {_VERB}\b|unfortunately,? i ?['’]?m? ?{_UNABLE}|"
    r"抱歉|对不起|很抱歉|申し訳|lo siento|je suis désolé|es tut mir leid|leider kann ich)",
    re.IGNORECASE,
)
_CHATTER = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|okay|ok|great|absolutely|got it|understood|thanks|thank you|no problem)\b"
    r"(?:[\s\W]*$|[,!.]? (?:for|i\b|let me|that|here)\b.*)|"
    r"i(?:['’]d| would) be (?:happy|glad|delighted)\b|(?:i am|i['’]m) (?:happy|glad|ready)\b|happy to help|"
    r"i (?:have )?underst(?:and|ood)\b|"
    r"i(?:['’]ll| will|['’]m going to| am going to) (?:now |then )?"
    r"(?:analy[sz]e|begin|create|draft|get|help|propose|provide|start|think|wait|write)\b|"
    r"let me (?:know|think|start|begin|analy[sz]e|see|propose|write)\b|"
    r"(?:could|can|would|will) you (?:please )?(?:clarify|confirm|give|let|paste|provide|send|share|tell)\b|"
    r"please (?:let me know|confirm|(?:provide|share|paste|send|give)(?: me)? (?:with )?"
    r"(?:the |your |more |some |further )*(?:instruction|module|program|details|context|demos?|information|dataset))|"
    r"(?:do|would) you (?:want|like)\b|is there anything\b|feel free to (?:ask|share)\b|"
    r"i (?:really )?hope (?:this|that|it)\b)",
    re.IGNORECASE,
)
_LEFT_OPEN = re.compile(
    r"[\[{<](?:(?:insert|place|put|your|the|new|proposed|improved) )*(?:instruction|prompt)s?(?: (?:here|text))?[\]}>]",
    re.IGNORECASE,
)
_CODE = re.compile(r"\A\s*(?:@\w[\w.]*(?:\(|$)|def \w+\(|class \w+[:(]|import \w+|from [\w.]+ import |#include)")
_CUT = re.compile(r"(?:[,(\[]|\b(?:an|the|and|or|but|nor|your|their|if|because|whose))$|\n[^\S\n]*(?:\d+[.)]|[-*•])$")
_COUNTER = re.compile(r"^\W*\d+[.):]\s", re.MULTILINE)
_ANSWER_OPENING = r"^(?:the |my |final |correct )*(?:answer|label|output{names})(?: (?:is|would be|should be))? "


class Fault(enum.StrEnum):
    """Why a proposal was rejected."""

    EMPTY = "empty"
    CUT = "cut"
    TOO_LONG = "too long"
    REFUSAL = "refusal"
    CHATTER = "chatter only"
    PLACEHOLDER = "placeholder"
    CODE = "code"
    ANSWER = "answer instead of instruction"
    REPETITION = "repeats itself"
    ECHO = "echoes the meta-prompt"
    QUOTE = "quotes training data"
    PRIVATE = "holds a private value"
    OVER_LIMIT = "longer than its guard allows"
    LACKS = "lacks what it must contain"
    FORBIDDEN = "contains what is forbidden"
    DUPLICATE = "duplicate"


def check(  # noqa: PLR0913 - a proposal, and each thing it is held against
    text: str,
    *,
    subject: Subject,
    meta_prompt: str,
    training: TrainingText,
    facts: str = "",
    finish_reason: str = "stop",
    limit: int | None = None,
    profile: Profile = Profile.ABLE,
    refuse_quotes: bool = False,
) -> Fault | None:
    """Return what is wrong with a cleaned proposal, None where nothing is.

    Args:
        text: the proposal.
        subject: what it is written for; what the original says itself may be said again.
        meta_prompt: the wording of the meta-prompt, without what it was filled with.
        training: the training rows, whose private values must not be in it.
        facts: the whole meta-prompt; a small proposer's answer that mostly copies it says nothing new.
        finish_reason: why the proposer stopped.
        limit: the longest proposal, in characters; None: as long as it comes.
        profile: the proposer's.
        refuse_quotes: whether a quotation of a training row is refused; from small proposers it always is.
    """
    if finish_reason == "length":
        return Fault.CUT
    if not words_of(text):
        return Fault.EMPTY
    small = profile is Profile.SMALL
    if _echoes(text, subject.original, meta_prompt) or (
        small and small_guards.echoes(text, subject.original, meta_prompt, facts)
    ):
        return Fault.ECHO
    if limit is not None and len(text) > max(limit, 2 * len(subject.original)):
        return Fault.TOO_LONG
    if (fault := _breaks(text, subject.guard) or _wrong_kind(text, subject, training, small=small)) is not None:
        return fault
    if _repeats(text) or (small and small_guards.repeats(text)):
        return Fault.REPETITION
    if training.holds_private(text, allowed=subject.original):
        return Fault.PRIVATE
    if (small or refuse_quotes) and training.quoted(text, allowed=quotable(subject)):
        return Fault.QUOTE
    return Fault.DUPLICATE if key_of(text, profile) == key_of(subject.original, profile) else None


def quotable(subject: Subject) -> str:
    """Return what a proposal may say although it stands in training rows: the subject's own words."""
    choices = [choice for field in subject.outputs for choice in field.choices]
    return "\n".join([subject.original, subject.known, *choices])


def key_of(text: str, profile: Profile) -> str:
    """Return what two proposals that are duplicates share.

    From able proposers that is all but capitals, white space, and marks around the whole; from small ones, which vary
    little else, all but the words.
    """
    if profile is Profile.SMALL:
        return normalized(text)
    return " ".join(text.casefold().split()).strip(" \"'`*_#.!")


def _breaks(text: str, guard: Guard) -> Fault | None:
    if guard.too_long(text):
        return Fault.OVER_LIMIT
    if guard.lacks(text):
        return Fault.LACKS
    return Fault.FORBIDDEN if guard.forbids(text) else None


def _wrong_kind(text: str, subject: Subject, training: TrainingText, *, small: bool) -> Fault | None:
    original, bare = subject.original, text
    for part in subject.guard.must_contain:  # a placeholder that must stand there is none that was left to be filled
        original, bare = original.replace(part, ""), bare.replace(part, "")
    if len(words_of(bare)) <= _REFUSAL_WORDS and _REFUSAL.search(bare) and not _REFUSAL.search(original):
        return Fault.REFUSAL
    if _chatters(bare) and not _chatters(original):
        return Fault.CHATTER
    patterns = [(_LEFT_OPEN, Fault.PLACEHOLDER), (_CODE, Fault.CODE)]
    if small:
        patterns += [
            (small_guards.REFUSAL, Fault.REFUSAL),
            (small_guards.PLACEHOLDER, Fault.PLACEHOLDER),
            (small_guards.CODE, Fault.CODE),
        ]
    for pattern, fault in patterns:
        if pattern.search(bare) and not pattern.search(original):
            return fault
    if _answers(text, subject, training):
        return Fault.ANSWER
    if subject.outputs and _cut(text) and not _cut(original):  # a template's region may end anywhere
        return Fault.CUT
    short = len(text) < _LEAST_CHARACTERS or small
    return Fault.EMPTY if short and len(words_of(text)) < min(_LEAST_WORDS, len(original.split())) else None


def _echoes(text: str, original: str, meta_prompt: str) -> bool:
    headings = set(_HEADING.findall(text)) - set(_HEADING.findall(original))
    if len(headings) > 1:
        return True
    ours = {run for run in runs(words_of(meta_prompt), _ECHO_WORDS) if _OUR_WORDS & set(run)}
    ours -= set(runs(words_of(original), _ECHO_WORDS))
    return any(run in ours for run in runs(words_of(text), _ECHO_WORDS))


def _chatters(text: str) -> bool:
    """Whether a text speaks to whoever asked for an instruction, and says nothing else."""
    sentences = [one for one in re.split(r"(?<=[.!?])\s+|\n+", text) if words_of(one)]
    return bool(sentences) and all(_CHATTER.search(one) for one in sentences)


def _answers(text: str, subject: Subject, training: TrainingText) -> bool:
    """Whether a text is what the predictor should answer, in one of the forms that answers take."""
    names = [field.name for field in subject.outputs]
    known = {normalized(choice) for field in subject.outputs for choice in field.choices} | training.answers
    if _is_answer(normalized(text), names, known):
        return True
    if (data := _json_of(text)) is not None:
        return not isinstance(data, dict) or set(data) <= {*names, "reasoning"} or normalized(text) in known
    lines = [line.partition(":") for line in text.splitlines() if line.strip()]
    if not all(colon and re.fullmatch(r"\w+", name.strip(" *_`-")) for name, colon, _ in lines):
        return False
    stated = {name.strip(" *_`-").lower(): normalized(value) for name, _, value in lines}
    return any(stated.get(name.lower()) in known for name in names)


def _is_answer(flat: str, names: Sequence[str], known: Collection[str]) -> bool:
    opening = _ANSWER_OPENING.replace("{names}", "".join(f"|{re.escape(normalized(name))}" for name in names))
    while (rest := re.sub(opening, "", f"{flat} ").strip()) != flat:
        flat = rest
    return flat in known or re.fullmatch(r"[\d.,]+", flat) is not None


def _json_of(text: str) -> object | None:
    if not text.startswith(("{", "[")):
        return None
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found


def _cut(text: str) -> bool:
    """Whether a text ends before it has said what it began to say."""
    fences = sum(line.lstrip().startswith("```") for line in text.splitlines())
    return fences % 2 == 1 or _CUT.search(text.rstrip()) is not None


def _repeats(text: str) -> bool:
    """Whether a text, or its last third, goes in a circle; numbers that count the rounds are left out.

    Rules of one pattern share most of their words, and are no circle: long runs of words tell them apart.
    """
    words = words_of(_COUNTER.sub("", text))
    return any(_is_loop(part) for part in (words, words[-(len(words) // 3) :]))


def _is_loop(words: Sequence[str]) -> bool:
    every = list(runs(words, _LOOP_WORDS))
    return len(every) > _LOOP_RUNS and len(set(every)) < len(every) / 2
