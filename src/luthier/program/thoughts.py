"""What reasoning models write before their answers, in every spelling in use: no part of an answer."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from luthier.lm.request import Completion

_WORDS = (
    r"(?:[\w-]+:)?(?:think|thinking|thoughts?|thought_process|reasoning|reflection|scratchpad|longcat_think|"
    r"(?:inner|internal)_monologue)"
)
# Tags as in <think> (DeepSeek, Qwen, GLM), <thought> (Gemini, EXAONE), <seed:think> (Seed-OSS); [THINK] (Magistral);
# ◁think▷ (Kimi); special tokens of Command A, OpenThinker, Gemma 4 and MedGemma, and of gpt-oss (harmony), whose
# answer follows the marker of its final channel; what Apriel and Granite write in words.
_PAIRS: tuple[tuple[str, str], ...] = (
    (rf"<\s*{_WORDS}(?:\s[^<>]*)?>", rf"<\s*/\s*{_WORDS}\s*>"),
    (r"\[(?:THINK|THINKING|REASONING)\]", r"\[/(?:THINK|THINKING|REASONING)\]"),
    (r"◁think▷", r"◁/think▷"),
    (r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    (r"<\|(?:think|thinking)\|>", r"<\|/(?:think|thinking)\|>"),
    (r"<\|channel>(?:thought|thinking|analysis)\b", r"<channel\|>"),
    (r"<unused94>(?:thought)?", r"<unused95>"),
    (
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b",
        r"<\|channel\|>final\b[^<]{0,40}<\|message\|>",
    ),
    (r"Here are my reasoning steps:", r"\[BEGIN FINAL RESPONSE\]"),
    (r"Here(?:'s| is) my thought process:", r"Here(?:'s| is) my response:"),
)
# What ends thoughts only where they began in the same spelling: these marks are words, too.
_SPOKEN = 2
_OPENING = re.compile("|".join(opening for opening, _ in _PAIRS), re.IGNORECASE)
_CLOSING = re.compile("|".join(closing for _, closing in _PAIRS[:-_SPOKEN]), re.IGNORECASE)
_TAG = re.compile(f"(?P<opening>{_OPENING.pattern})|{_CLOSING.pattern}", re.IGNORECASE)
_BLOCKS = [rf"(?:{opening}).*?(?:{closing})" for opening, closing in _PAIRS]
_BLOCK = re.compile("|".join(_BLOCKS), re.IGNORECASE | re.DOTALL)
_SPOKEN_BLOCK = re.compile("|".join(_BLOCKS[-_SPOKEN:]), re.IGNORECASE | re.DOTALL)
_END_TOKENS = re.compile(
    r"(?:<\|(?:im_end|end|return|eot_id|endoftext|end_of_text|end_of_solution|END_RESPONSE|END_OF_TURN_TOKEN)\|>|</s>|"
    r"<end_of_turn>|\[END FINAL RESPONSE\]|\s)+\Z"
)
_START_TOKENS = re.compile(
    r"\A(?:<\|(?:START_RESPONSE|begin_of_solution)\|>|<\|start\|>assistant(?:<\|message\|>)?|\s)+"
)
_WRAPPED = re.compile(
    r"\A<\s*(answer|response|output|final|final_answer)\s*>(.*)<\s*/\s*\1\s*>\Z", re.IGNORECASE | re.DOTALL
)
_FENCED = re.compile(r"\A\s*```\w*\n(.*)\n```\s*\Z", re.DOTALL)
_QUOTES = "`\"'"


def without_thoughts(text: str) -> str:
    """Return an answer without the thoughts in front of it; empty where it never left them.

    Everything up to the last closing tag goes, whether it was opened or not. A tag in quotes, in the midst of a line,
    or inside an answer that is JSON, is text; where nothing follows the last closing tag, only what the tags enclose
    goes.

    >>> without_thoughts("It is about money.</think> billing")
    'billing'
    """
    if _is_json(text):
        return text
    if not (_OPENING.search(text) or _CLOSING.search(text)):
        return _END_TOKENS.sub("", text) if text.rstrip().endswith(("|>", "</s>", "<end_of_turn>")) else text
    rest = _after_thoughts(text)
    if rest is None:
        return text
    rest = _START_TOKENS.sub("", _END_TOKENS.sub("", rest))
    wrapped = _WRAPPED.match(rest)
    return (rest if wrapped is None else wrapped.group(2)).strip()


def thought_until_cut(completion: Completion) -> bool:
    """Say whether an answer was cut off while its model was thinking, or because that had taken the room."""
    if completion.finish_reason != "length" or completion.refusal is not None:
        return False
    if completion.usage is None:
        return not completion.text or unfinished_thought(completion.text)
    return completion.usage.reasoning_tokens > 0 or unfinished_thought(completion.text)


def cut_by_thinking(completion: Completion) -> str:
    """Return what to add about an answer whose room was taken by thoughts, "" where it was not."""
    if not thought_until_cut(completion):
        return ""
    usage = completion.usage
    share = (
        f" ({usage.reasoning_tokens:,} of {usage.completion_tokens:,} tokens)"
        if usage and usage.reasoning_tokens
        else ""
    )
    return f"; hidden reasoning took the answer's room{share}: raise max_tokens, or lower reasoning_effort"


def unfinished_thought(text: str) -> bool:
    """Say whether an answer ends inside its own thoughts."""
    return bool(_opened(_BLOCK.sub("", text))) and not _is_json(text)


def written_after_thoughts(text: str) -> str:
    """Return an instruction without the thoughts in front of it, and with the tags that it names itself.

    What an instruction says of tags stands within a line; a model's own thoughts begin one.

    >>> written_after_thoughts("<think>Tags?</think>Think in <think></think> tags, then answer.")
    'Think in <think></think> tags, then answer.'
    """
    rest = _without_leading_blocks(text)
    return rest if _names_tags(rest) else without_thoughts(text)


def unfinished_before_writing(text: str) -> bool:
    """Say whether an instruction never came, or ends inside the thoughts of its model."""
    rest = _without_leading_blocks(text)
    return unfinished_thought(rest) and not _names_tags(rest)


def _without_leading_blocks(text: str) -> str:
    rest = text.strip()
    while (block := _BLOCK.match(rest)) is not None:
        rest = rest[block.end() :].strip()
    return rest


def _names_tags(text: str) -> bool:
    """Say whether the first tag of thoughts in a text opens them within a line, after other words."""
    opened, closed = _opened(text), _CLOSING.search(text)
    if opened is None or (closed is not None and closed.start() < opened.start()):
        return False
    return any(char.isalnum() for char in text[: opened.start()].rpartition("\n")[2])


def _after_thoughts(text: str) -> str | None:
    """Return what follows the thoughts, None where there are none."""
    ends = [match.end() for match in (*_closings(text), *_SPOKEN_BLOCK.finditer(text))]
    for end in ends:
        if _is_json(_END_TOKENS.sub("", text[end:])):  # tags in it are its own
            return text[end:]
    if ends:
        rest = text[max(ends) :]
        if opened := _opened(rest):  # it began to think once more
            rest = rest[: opened.start()]
        return rest if _END_TOKENS.sub("", rest).strip() else _CLOSING.sub("", _BLOCK.sub("", text))
    opened = _opened(text)
    return None if opened is None else text[: opened.start()]


def _closings(text: str) -> Iterator[re.Match[str]]:
    """Yield the closing tags of thoughts, not those of tags that a text only speaks of."""
    inside, mention = False, -1
    for match in _TAG.finditer(text):
        start, end = match.span()
        if _is_quoted(text, start, end):
            continue
        if match["opening"] is not None:
            inside = inside or not _is_mentioned(text, start)
            mention = -1 if inside else end
        elif mention >= 0 and ("\n" not in text[mention:start] or (_is_mentioned(text, start) and _goes_on(text, end))):
            mention = -1
        else:
            inside, mention = False, -1
            yield match


def _opened(text: str) -> re.Match[str] | None:
    for match in _OPENING.finditer(text):
        if not (_is_quoted(text, *match.span()) or _is_mentioned(text, match.start())):
            return match
    return None


def _is_mentioned(text: str, start: int) -> bool:
    """Say whether a tag stands in the midst of a line, as one does that a sentence speaks of."""
    before = text[text.rfind("\n", 0, start) + 1 : start].rstrip()
    return bool(before) and not before.endswith((">", "]", "▷"))


def _goes_on(text: str, end: int) -> bool:
    return bool(text[end:].split("\n", 1)[0].strip())


def _is_quoted(text: str, start: int, end: int) -> bool:
    before, after = text[start - 1 : start], text[end : end + 1]
    return bool(before) and before == after and before in _QUOTES


def _is_json(text: str) -> bool:
    fenced = _FENCED.match(text)
    text = text if fenced is None else fenced.group(1)
    if not text.lstrip().startswith(("{", "[", '"')):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
