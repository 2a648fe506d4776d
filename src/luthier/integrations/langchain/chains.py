"""Chains and prompts whose texts are tuned, and chat models whose calls are a study's."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeVar

import pydantic
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import BaseMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableSequence
from pydantic import PrivateAttr

from luthier.errors import ConfigError, Unparseable
from luthier.integrations.foreign import NO_SOURCE, ForeignPredictor, Noted, calling
from luthier.integrations.langchain.region import Region, region_of, with_demos
from luthier.lm.lm import LM
from luthier.program.candidate import Kind, Prompt
from luthier.program.connect import connect as connect_client
from luthier.program.context import Run, current_run
from luthier.program.output_type import shape_of
from luthier.program.shape import Kind as ValueKind
from luthier.program.shape import type_text
from luthier.program.signature import Field, Signature
from luthier.program.text import Guard, Text
from luthier.program.values import value_to_json

__all__ = ["TunableChain", "TunablePrompt", "Unreadable", "connect", "lm_of", "tunable"]

ModelT = TypeVar("ModelT")
_UNREADABLE = (OutputParserException, pydantic.ValidationError)
_UNREADABLE_NAMES = ("LengthFinishReasonError", "ContentFilterFinishReasonError")


class Unreadable(Unparseable, OutputParserException):  # type: ignore[misc]
    """An answer that a chain's parser could not read: LangChain's error to user code, and an outcome to luthier."""

    def __init__(self, message: str, *, text: str = "", predictor: str = "") -> None:
        Unparseable.__init__(self, message, text=text, predictor=predictor)
        self.observation, self.llm_output, self.send_to_llm = None, text or None, False


def tunable(thing: Any, name: str, *, output: str | type | None = None) -> Any:
    """Return a prompt or a chain whose text is tuned; outside of a run it is what was given.

    Of a chain ``... | prompt | model | parser``, the part from the prompt on becomes a predictor: its instruction is
    the system message, or the first message where there is none, and demos are messages before the last human one.
    Of a prompt alone, or a chain whose prompt has no human message to make demos of, the text alone is tuned.
    Placeholders such as ``{context}`` must stay in every proposal; all else in the prompt is fixed.

    Args:
        thing: a ``ChatPromptTemplate``, or a chain with one in it.
        name: the component's name.
        output: what the chain gives: the name of a text, or a pydantic model. None: what the chain says of itself.

    Raises:
        ConfigError: there is no such prompt in it, or its text cannot be tuned.
    """
    if isinstance(thing, ChatPromptTemplate):
        return TunablePrompt.of(thing, name)
    steps = list(thing.steps) if isinstance(thing, RunnableSequence) else []
    places = [place for place, step in enumerate(steps) if isinstance(step, ChatPromptTemplate)]
    if len(places) != 1 or places[0] == len(steps) - 1:
        raise ConfigError(
            f"tunable(..., {name!r}) takes a ChatPromptTemplate, or a chain with one in it and a model behind it "
            f"(prompt | model | parser), not {type(thing).__name__}"
        )
    before, (prompt, *after) = steps[: places[0]], steps[places[0] :]
    region = region_of(prompt, name)
    made = (
        TunableChain(prompt, RunnableSequence(prompt, *after), region, name, output)
        if region.takes_demos
        else RunnableSequence(TunablePrompt.of(prompt, name), *after)
    )
    return RunnableSequence(*before, made) if before else made


def connect(model: ModelT, **settings: Any) -> ModelT:
    """Return a copy of a ``ChatOpenAI`` (or Azure's) whose calls are the study's where one runs; see ``lt.connect``.

    Args:
        model: the chat model.
        settings: those of ``lt.connect``.

    Raises:
        ConfigError: it is no chat model of ``langchain-openai``.
    """
    given: Any = model
    if getattr(given, "root_client", None) is None and getattr(given, "root_async_client", None) is None:
        raise ConfigError(f"connect({type(model).__name__}): not a chat model of langchain-openai with a client")
    made = given.model_copy()
    if given.root_client is not None:
        made.root_client = connect_client(given.root_client, **settings)
        made.client = made.root_client.chat.completions
    if given.root_async_client is not None:
        made.root_async_client = connect_client(given.root_async_client, **settings)
        made.async_client = made.root_async_client.chat.completions
    return made  # type: ignore[no-any-return]


def lm_of(model: Any, **settings: Any) -> LM:
    """Return an ``lt.LM`` that asks through a ``ChatOpenAI``'s client, for proposers, teachers, and judges.

    Raises:
        ConfigError: it is no chat model of ``langchain-openai``.
    """
    if getattr(model, "root_client", None) is None:
        raise ConfigError(f"lm_of({type(model).__name__}): not a chat model of langchain-openai with a client")
    own = {"temperature": model.temperature, "max_tokens": model.max_tokens}
    given = {name: value for name, value in own.items() if value is not None}
    return LM(model.model_name, client=model.root_client, **{**given, **settings})


class TunablePrompt(ChatPromptTemplate):  # type: ignore[misc]
    """A prompt template of which one text is tuned."""

    _region: Region = PrivateAttr()
    _text: Text = PrivateAttr()

    @staticmethod
    def of(prompt: Any, name: str) -> TunablePrompt:
        """Return a prompt's twin whose first text is the component of that name.

        Raises:
            ConfigError: there is no text to tune.
        """
        region = region_of(prompt, name)
        fields = {field: getattr(prompt, field) for field in type(prompt).model_fields}
        made: TunablePrompt = TunablePrompt.model_construct(**fields)
        made._region = region
        made._text = Text(
            name, Kind.REGION, region.text, region.facts, region.placeholders, Guard(must_contain=region.placeholders)
        )
        return made

    @property
    def luthier_texts(self) -> tuple[Text, ...]:
        """The text that is tuned."""
        return (self._text,)

    def format_messages(self, **kwargs: Any) -> list[Any]:
        """Fill in the template, with the text of the current run's candidate."""
        return _plain(self, self._region, self._text.current()).format_messages(**kwargs)  # type: ignore[no-any-return]

    async def aformat_messages(self, **kwargs: Any) -> list[Any]:
        """Do the same on an event loop."""
        return await _plain(self, self._region, self._text.current()).aformat_messages(**kwargs)  # type: ignore[no-any-return]


class TunableChain(Runnable, ForeignPredictor):  # type: ignore[misc]
    """A chain from a prompt on, as a predictor: called like the chain it was made from."""

    def __init__(self, prompt: Any, chain: Any, region: Region, name: str, output: str | type | None) -> None:
        inputs = tuple(Field(variable, str) for variable in sorted(prompt.input_variables))
        signature = Signature(name, region.text, inputs, _outputs(chain, name, output), result=dict)
        ForeignPredictor.__init__(self, signature, Prompt(region.text), NO_SOURCE)
        self.guard = Guard(must_contain=region.placeholders)
        self._prompt = prompt
        self._chain = chain
        self._region = region
        self._with = lru_cache(maxsize=64)(self._made_with)

    def invoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Call the chain with the prompt of the current run's candidate.

        Raises:
            Unreadable: the parser could not read the answer.
        """
        run = current_run()
        if run is None:
            return self._chain.invoke(input, config, **kwargs)
        with self._noted(run, input) as noted:
            value = self._in(run).invoke(input, config, **kwargs)
            noted.outputs = self._told(value)
        return value

    async def ainvoke(self, input: Any, config: Any = None, **kwargs: Any) -> Any:
        """Do the same on an event loop."""
        run = current_run()
        if run is None:
            return await self._chain.ainvoke(input, config, **kwargs)
        with self._noted(run, input) as noted:
            value = await self._in(run).ainvoke(input, config, **kwargs)
            noted.outputs = self._told(value)
        return value

    def stream(self, input: Any, config: Any = None, **kwargs: Any) -> Iterator[Any]:
        """Stream as the chain does; inside a study the answer comes whole."""
        if current_run() is None:
            yield from self._chain.stream(input, config, **kwargs)
        else:
            yield self.invoke(input, config, **kwargs)

    async def astream(self, input: Any, config: Any = None, **kwargs: Any) -> AsyncIterator[Any]:
        """Do the same on an event loop."""
        if current_run() is None:
            async for chunk in self._chain.astream(input, config, **kwargs):
                yield chunk
        else:
            yield await self.ainvoke(input, config, **kwargs)

    def prompt_with(self, prompt: Prompt) -> Any:
        """Return the ``ChatPromptTemplate`` that the chain has with a tuned prompt; for use without luthier."""
        if prompt == self.original:
            return self._prompt
        return with_demos(_plain(self._prompt, self._region, prompt.instruction), self._region, prompt.demos)

    def _in(self, run: Run) -> Any:
        prompt = self.prompt_in(run)
        return self._chain if prompt == self.original else self._with(json.dumps(prompt.to_json(), sort_keys=True))

    def _made_with(self, prompt_json: str) -> Any:
        return RunnableSequence(self.prompt_with(Prompt.from_json(json.loads(prompt_json))), *self._chain.steps[1:])

    @contextmanager
    def _noted(self, run: Run, given: Any) -> Iterator[Noted]:
        inputs = given if isinstance(given, Mapping) else {field.name: given for field in self.signature.inputs[:1]}
        try:
            with calling(self, inputs, run, _unreadable) as noted:
                yield noted
        except Exception as error:
            said = _unreadable(error)
            if said is None or isinstance(error, Unparseable):
                raise
            first = str(error).strip().split("\n", 1)[0]
            raise Unreadable(first or type(error).__name__, text=said, predictor=str(self.name)) from error

    def _told(self, value: Any) -> dict[str, Any]:
        data = value.text if isinstance(value, BaseMessage) else value_to_json(value)
        names = [field.name for field in self.signature.outputs]
        if isinstance(value, BaseMessage) and getattr(value, "tool_calls", None):
            return {}  # what a tool is asked is no answer, and would make no demo
        if isinstance(data, dict) and set(names) & data.keys():
            return {name: data[name] for name in names if name in data}
        return {names[0]: data}


def _plain(prompt: Any, region: Region, text: str) -> Any:
    """Return the prompt as LangChain's own class, with a text in the region."""
    fields = {field: getattr(prompt, field) for field in ChatPromptTemplate.model_fields}
    plain = ChatPromptTemplate.model_construct(**fields)
    return plain if text == region.text else plain.model_copy(update={"messages": region.filled(text)})


def _outputs(chain: Any, name: str, output: str | type | None) -> tuple[Field, ...]:
    if isinstance(output, str):
        return (Field(output, str),)
    kind = output if output is not None else _output_type(chain)
    shape = shape_of(kind, strict=False)
    if shape.kind is ValueKind.RECORD:
        return tuple(
            Field(
                member.name,
                member.type,
                member.description,
                choices=tuple(choice.text for choice in member.shape.choices),
                type_text=type_text(member.type),
            )
            for member in shape.members
        )
    return (Field(name, kind, type_text=type_text(kind)),)


def _output_type(chain: Any) -> Any:
    """Return what a chain says that it gives, text where it does not."""
    try:
        kind = chain.OutputType
    except TypeError:
        return str
    return kind if isinstance(kind, type) and not issubclass(kind, BaseMessage) else str


def _unreadable(error: Exception) -> str | None:
    """Return what the LM answered where an error says that it could not be read; None where it says something else."""
    if isinstance(error, Unparseable):
        return error.text
    if isinstance(error, _UNREADABLE) or type(error).__name__ in _UNREADABLE_NAMES:
        return str(getattr(error, "llm_output", None) or "")
    return None
