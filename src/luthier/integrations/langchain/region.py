"""The text of a LangChain prompt template that is tuned, and demos as messages in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from string import Formatter
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.prompts import HumanMessagePromptTemplate, PromptTemplate, SystemMessagePromptTemplate

from luthier.errors import ConfigError
from luthier.program.candidate import Demo

_SHOWN = 600
_TUNABLE = (SystemMessagePromptTemplate, HumanMessagePromptTemplate)


@dataclass(frozen=True, slots=True)
class Region:
    """Where the tuned text stands in a prompt's messages.

    A text is as people read it: ``{name}`` stands for an input where the original has that input, and any other
    brace for itself.
    """

    messages: tuple[Any, ...]
    place: int
    text: str
    placeholders: tuple[str, ...]
    """What must stay, as it is written: ``{context}``."""

    @property
    def human(self) -> int | None:
        """The place of the last human message, None where it is not a template of text."""
        places = [place for place, message in enumerate(self.messages) if _is_text(message, HumanMessagePromptTemplate)]
        return places[-1] if places else None

    @property
    def takes_demos(self) -> bool:
        """Whether there is a human message to make demos of."""
        return self.human is not None

    @property
    def facts(self) -> str:
        """What a proposer is told: what the text is, and what stands around it."""
        around = "\n".join(_told(message) for place, message in enumerate(self.messages) if place != self.place)
        what = "system message" if self.place == _first(self.messages, SystemMessagePromptTemplate) else "first message"
        return f"is the {what} of a chat prompt{f', whose other messages are:{chr(10)}{around}' if around else '.'}"

    def filled(self, text: str) -> list[Any]:
        """Return the messages with another text in the region; it is inserted, and never read as a template."""
        messages, old = list(self.messages), self.messages[self.place]
        if isinstance(old, BaseMessage):
            messages[self.place] = SystemMessage(content=text)
        else:
            prompt = PromptTemplate.from_template(_as_template(text, self.placeholders))
            # An input that the new text no longer has stays allowed, since the other messages may use it.
            messages[self.place] = old.model_copy(update={"prompt": prompt})
        return messages


def region_of(prompt: Any, name: str) -> Region:
    """Return the tuned text of a prompt: its system message, else its first message.

    Raises:
        ConfigError: it is neither, or not written as an f-string.
    """
    messages = tuple(prompt.messages)
    place = _first(messages, SystemMessagePromptTemplate)
    if place is None:
        place = 0 if messages and _is_text(messages[0], HumanMessagePromptTemplate) else None
    if place is None:
        raise ConfigError(f"the prompt {name!r} has neither a system message nor a human one to begin with")
    message = messages[place]
    if isinstance(message, BaseMessage):
        return Region(messages, place, str(message.content), ())
    template = message.prompt
    if template.template_format != "f-string":
        raise ConfigError(
            f"the prompt {name!r} is a {template.template_format} template; tunable takes f-string ones, lt.Template "
            "the others"
        )
    return Region(messages, place, *_read(template.template))


def with_demos(prompt: Any, region: Region, demos: Sequence[Demo]) -> Any:
    """Return a prompt with demos as pairs of messages before its last human message."""
    if region.human is None or not demos:
        return prompt
    human = prompt.messages[region.human]
    pairs: list[Any] = []
    for demo in demos:
        filled = {variable: demo.inputs.get(variable, "") for variable in human.input_variables}
        pairs += [HumanMessage(content=human.format(**filled).content), AIMessage(content=answer_text(demo))]
    messages = [*prompt.messages[: region.human], *pairs, *prompt.messages[region.human :]]
    return prompt.model_copy(update={"messages": messages})


def answer_text(demo: Demo) -> str:
    """Return what the LM answers in a demo: a single text as it is, anything else as JSON."""
    if len(demo.outputs) == 1 and isinstance(only := next(iter(demo.outputs.values())), str):
        return only
    return json.dumps(dict(demo.outputs), ensure_ascii=False)


def _first(messages: Sequence[Any], kind: type) -> int | None:
    fixed = SystemMessage if kind is SystemMessagePromptTemplate else HumanMessage
    return next(
        (n for n, message in enumerate(messages) if _is_text(message, kind) or isinstance(message, fixed)), None
    )


def _is_text(message: Any, kind: type) -> bool:
    return isinstance(message, kind) and isinstance(getattr(message, "prompt", None), PromptTemplate)


def _told(message: Any) -> str:
    if isinstance(message, BaseMessage):
        return f"- {message.type}: {str(message.content)[:_SHOWN]}"
    if isinstance(message, _TUNABLE) and isinstance(message.prompt, PromptTemplate):
        kind = type(message).__name__.removesuffix("MessagePromptTemplate").lower()
        return f"- {kind}: {message.prompt.template[:_SHOWN]}"
    return f"- {getattr(message, 'variable_name', type(message).__name__)}: messages of a conversation"


def _read(template: str) -> tuple[str, tuple[str, ...]]:
    """Return an f-string template as people read it, and its placeholders."""
    text, placeholders = "", []
    for literal, field, spec, conversion in Formatter().parse(template):
        text += literal
        if field is not None:
            written = f"{{{field}{f'!{conversion}' if conversion else ''}{f':{spec}' if spec else ''}}}"
            text += written
            placeholders.append(written)
    return text, tuple(dict.fromkeys(placeholders))


def _as_template(text: str, placeholders: Sequence[str]) -> str:
    escaped = text.replace("{", "{{").replace("}", "}}")
    for placeholder in placeholders:
        escaped = escaped.replace(f"{{{placeholder}}}", placeholder)
    return escaped
