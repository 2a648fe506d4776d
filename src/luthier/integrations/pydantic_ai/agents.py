"""``tunable``: a pydantic-ai agent as a predictor.

Where a study runs, the agent's instructions are the candidate's, its demos stand before the conversation, and its
model's OpenAI client is connected (``lt.connect``). Elsewhere, and for the original prompt, nothing is changed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from types import GenericAlias
from typing import Any, TypeVar, cast

from openai import AsyncOpenAI, DefaultAsyncHttpxClient
from pydantic_ai import Agent
from pydantic_ai.agent import AbstractAgent, WrapperAgent
from pydantic_ai.exceptions import UnexpectedModelBehavior
from pydantic_ai.messages import (
    InstructionPart,
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import Model, ModelRequestParameters, infer_model
from pydantic_ai.models.wrapper import WrapperModel

from luthier.errors import ConfigError, Unparseable
from luthier.integrations.foreign import NO_SOURCE, ForeignPredictor
from luthier.lm.lm import Price
from luthier.lm.openai.sdk import PLAIN
from luthier.lm.request import Usage
from luthier.program.call import PendingCall, own_body, record_own
from luthier.program.candidate import Demo, Prompt
from luthier.program.connect import connect, is_connected
from luthier.program.context import Run, current_run
from luthier.program.inspect_signature import signature_of
from luthier.program.values import result_shape

__all__ = ["AgentUnparseable", "TunableAgent", "tunable"]

AgentT = TypeVar("AgentT", bound=AbstractAgent[Any, Any])

_INPUT = "user_prompt"
_TAKEN = "Final result processed."  # what pydantic-ai answers a call of an output tool


def tunable(
    agent: AgentT,
    *,
    name: str | None = None,
    instruction: str | None = None,
    price: Price | Mapping[str, Price] | None = None,
    max_in_flight: int | None = None,
    rpm: int | None = None,
    tpm: int | None = None,
) -> AgentT:
    """Return the agent as a predictor: called as before, and tuned wherever a study runs a program that calls it.

    Args:
        agent: an ``Agent``, with whatever tools, output type, and dependencies it has.
        name: the predictor's name; the agent's own where None.
        instruction: what is tuned: a text of its instructions or system prompt, verbatim; None: the only one it has.
        price: what its model costs, as for ``lt.connect``, which takes the next three, too.
        max_in_flight: the most requests to the model at once.
        rpm: the most requests to the model a minute.
        tpm: the most tokens of the model a minute.

    Raises:
        ConfigError: it has several texts, and ``instruction`` names none of them.
    """
    text = _only_text(agent) if instruction is None else instruction
    limits = {"price": price, "max_in_flight": max_in_flight, "rpm": rpm, "tpm": tpm}
    return cast(AgentT, TunableAgent(agent, _predictor(agent, name or agent.name or "agent", text), limits))


class AgentUnparseable(Unparseable, UnexpectedModelBehavior):  # type: ignore[misc]
    """The model did not get its answer into the form that the agent asks for, retries included."""


class TunableAgent(WrapperAgent[Any, Any]):  # type: ignore[misc]
    """An agent that asks with the prompt of the current run's candidate, and notes its calls; see ``tunable``."""

    def __init__(self, wrapped: AbstractAgent[Any, Any], predictor: AgentPredictor, limits: Mapping[str, Any]) -> None:
        super().__init__(wrapped)
        self.luthier_predictor = predictor
        """What is tuned."""
        self._limits = limits
        self._connected: dict[int, tuple[Model, Model]] = {}  # by id of the model, which is kept for that

    @asynccontextmanager
    async def iter(self, user_prompt: Any = None, **settings: Any) -> AsyncGenerator[Any]:
        """Do what the agent's ``iter`` does, which all its other ways to run go through.

        Raises:
            AgentUnparseable: inside a study, where pydantic-ai raises ``UnexpectedModelBehavior``.
        """
        run = current_run()
        if run is None:
            async with self.wrapped.iter(user_prompt, **settings) as agent_run:
                yield agent_run
            return
        predictor = self.luthier_predictor
        call = PendingCall(predictor, {_INPUT: _text(user_prompt)}, run, run.begin(predictor))
        agent_run = None
        with own_body(call):
            model = self._model(settings.pop("model", None), predictor.prompt_in(run), run)
            try:
                async with self.wrapped.iter(user_prompt, model=model, **settings) as agent_run:
                    yield agent_run
            except UnexpectedModelBehavior as error:
                if run.ambient or isinstance(error, Unparseable):
                    raise
                text = call.own[-1][1].text if call.own else ""
                raise AgentUnparseable(error.message, text=text, predictor=predictor.name) from error
            finally:
                if agent_run is not None and not call.own and not run.ambient:
                    _declare(call, agent_run)
        # An agent that stops for approval or external tools has not answered yet.
        if agent_run.result is not None:
            record_own(call, agent_run.result.output)

    def _model(self, given: Any, prompt: Prompt, run: Run) -> Model | None:
        """Return the model that asks with a prompt; None: the agent's own, as it is."""
        model = self.wrapped.model if given is None else given
        if model is None:
            return None
        if not isinstance(model, Model):
            model = infer_model(model)
        if not run.ambient:
            model = self._connect(model)
        original = self.luthier_predictor.original
        return model if prompt == original else _Prompted(model, original.instruction, prompt, self.luthier_predictor)

    def _connect(self, model: Model) -> Model:
        if id(model) not in self._connected:
            self._connected[id(model)] = (model, _with_connected_client(model, self._limits))
        return self._connected[id(model)][1]


class AgentPredictor(ForeignPredictor):
    """The predictor that an agent is."""

    @property
    def makes_own_call(self) -> bool:
        """Yes: the agent asks its own model."""
        return True


class _Prompted(WrapperModel):  # type: ignore[misc]
    """A model asked with a candidate's prompt in the place of the original's."""

    def __init__(self, wrapped: Model, original: str, prompt: Prompt, predictor: AgentPredictor) -> None:
        super().__init__(wrapped)
        self._original = original
        self._prompt = prompt
        self._predictor = predictor

    async def request(
        self, messages: list[ModelMessage], model_settings: Any, model_request_parameters: ModelRequestParameters
    ) -> ModelResponse:
        """Ask with the candidate's instruction and demos."""
        return await self.wrapped.request(*self._tuned(messages, model_settings, model_request_parameters))

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: Any,
        model_request_parameters: ModelRequestParameters,
        run_context: Any = None,
    ) -> AsyncGenerator[Any]:
        """Ask with the candidate's instruction and demos, and stream the answer."""
        tuned = self._tuned(messages, model_settings, model_request_parameters)
        async with self.wrapped.request_stream(*tuned, run_context) as response:
            yield response

    def _tuned(
        self, messages: list[ModelMessage], settings: Any, params: ModelRequestParameters
    ) -> tuple[list[ModelMessage], Any, ModelRequestParameters]:
        parts = params.instruction_parts
        if not self._original:
            parts = [InstructionPart(self._prompt.instruction), *(parts or [])]
        elif parts is not None:
            parts = [replace(part, content=self._swap(part.content)) for part in parts]
        messages = [self._message(message) for message in messages]
        demos = self._demos(self.wrapped.prepare_request(settings, params)[1])
        if demos:
            messages = _after_system(messages, demos)
        return messages, settings, replace(params, instruction_parts=parts)

    def _message(self, message: ModelMessage) -> ModelMessage:
        if not isinstance(message, ModelRequest) or not self._original:
            return message
        parts = [
            replace(part, content=self._swap(part.content)) if isinstance(part, SystemPromptPart) else part
            for part in message.parts
        ]
        text = message.instructions
        return replace(message, parts=parts, instructions=None if text is None else self._swap(text))

    def _swap(self, text: str) -> str:
        return text.replace(self._original, self._prompt.instruction, 1)

    def _demos(self, params: ModelRequestParameters) -> list[ModelMessage]:
        found: list[ModelMessage] = []
        tool = params.output_tools[0] if params.output_mode == "tool" and params.output_tools else None
        for number, demo in enumerate(self._prompt.demos, 1):
            found.append(ModelRequest([UserPromptPart(str(demo.inputs.get(_INPUT, "")))]))
            value = self._output(demo)
            if tool is None:
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
                found.append(ModelResponse([TextPart(text)]))
                continue
            key, call_id = tool.outer_typed_dict_key, f"demo_{number}"
            arguments = json.dumps(value if key is None else {key: value}, ensure_ascii=False)
            found.append(ModelResponse([ToolCallPart(tool.name, arguments, call_id)]))
            found.append(ModelRequest([ToolReturnPart(tool.name, _TAKEN, call_id)]))
        return found

    def _output(self, demo: Demo) -> Any:
        signature = self._predictor.signature
        if result_shape(signature) is None:
            return demo.outputs.get(signature.outputs[0].name)
        return {**({"reasoning": demo.reasoning} if signature.reasoning and demo.reasoning else {}), **demo.outputs}


def _after_system(messages: Sequence[ModelMessage], demos: Sequence[ModelMessage]) -> list[ModelMessage]:
    """Put demos behind the system prompt, which pydantic-ai keeps in one message with the first thing the user said."""
    first = messages[0]
    if not isinstance(first, ModelRequest):
        return [*demos, *messages]
    system = [part for part in first.parts if isinstance(part, SystemPromptPart)]
    said = [part for part in first.parts if not isinstance(part, SystemPromptPart)]
    head = [replace(first, parts=system)] if system else []
    return [*head, *demos, replace(first, parts=said), *messages[1:]]


def _predictor(agent: AbstractAgent[Any, Any], name: str, instruction: str) -> AgentPredictor:
    async def ask(user_prompt: str) -> Any:
        """Ask the agent."""

    output: Any = agent.output_type
    # NativeOutput(T), PromptedOutput(T), ToolOutput(T): T in another form.
    output = getattr(output, "outputs", getattr(output, "output", output))
    if not isinstance(output, type | GenericAlias):
        output = Any
    ask.__annotations__ = {_INPUT: str, "return": output}
    ask.__name__ = ask.__qualname__ = name
    signature = signature_of(
        ask, name=name, instruction=instruction, reasoning=False, output=None, strict=False, local_names=None
    )
    return AgentPredictor(signature, Prompt(instruction), NO_SOURCE)


def _only_text(agent: AbstractAgent[Any, Any]) -> str:
    plain = agent
    while isinstance(plain, WrapperAgent):
        plain = plain.wrapped
    found = [getattr(each, "instruction", each) for each in getattr(plain, "_instructions", ())]
    texts = [text for text in (*found, *getattr(plain, "_system_prompts", ())) if isinstance(text, str)]
    if len(texts) > 1 or not isinstance(plain, Agent):
        shown = "; ".join(repr(text[:40]) for text in texts)
        raise ConfigError(
            f"tunable(agent): it has {len(texts)} texts of instructions that could be tuned ({shown}); say which with "
            "instruction=..."
        )
    return texts[0] if texts else ""


def _with_connected_client(model: Model, limits: Mapping[str, Any]) -> Model:
    """Return a model like this one whose OpenAI client is connected; itself where it has none, or a connected one."""
    if isinstance(model, WrapperModel):
        return model
    client = getattr(model, "client", None)
    if not isinstance(client, AsyncOpenAI) or is_connected(client):
        return model
    if getattr(model.provider, "_own_http_client", None) is not None:
        # The provider would put a new HTTP client in the connected one's place on every new event loop.
        http = DefaultAsyncHttpxClient(timeout=client.timeout)
        setattr(http, PLAIN, True)
        client = client.copy(http_client=http)
    provider = type(model.provider)(openai_client=connect(client, **limits))
    kind: Any = type(model)
    return cast(Model, kind(model.model_name, provider=provider, profile=model.profile, settings=model.settings))


def _declare(call: PendingCall, agent_run: Any) -> None:
    """Charge what a model that has no OpenAI client says that it used."""
    billed = agent_run.usage
    usage = Usage(billed.input_tokens, billed.output_tokens, billed.cache_read_tokens, billed.requests)
    if usage.calls:
        call.declare(usage)


def _text(user_prompt: Any) -> str:
    """Return what the user says, its text parts only where there are others."""
    if user_prompt is None or isinstance(user_prompt, str):
        return user_prompt or ""
    return "\n".join(part for part in user_prompt if isinstance(part, str))
