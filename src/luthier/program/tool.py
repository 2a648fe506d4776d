"""``lt.tool``: functions that an LM may call; their descriptions are tuned, their schemas are fixed."""

from __future__ import annotations

import enum
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, Literal, ParamSpec, TypeVar, cast, overload

from luthier.errors import ConfigError, SignatureError, Unparseable
from luthier.lm import request
from luthier.program.context import current_run
from luthier.program.inspect_signature import local_qualname, takes_instance
from luthier.program.prompt import Kind
from luthier.program.recorded import Recorded
from luthier.program.shape import split_annotated
from luthier.program.text import Guard, Text
from luthier.program.values import value_to_json
from luthier.program.walk import place_of

P = ParamSpec("P")
R = TypeVar("R")


class _Nothing(enum.Enum):
    """Told where no stand-in was given, of which None may be one."""

    NOTHING = "nothing"


class Effects(enum.StrEnum):
    """What becomes of a tool's call in a study or an evaluation."""

    RUN = "run"
    """It runs."""
    RECORD = "record"
    """It runs once; its result is kept."""
    REFUSE = "refuse"
    """It does not run."""


@overload
def tool(fn: Callable[P, R], /) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Literal["run", "record", "refuse"] = "run",
    pure: bool = False,
    refused: Any = ...,
    tune: Iterable[str] = (),
    guard: Guard | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(  # noqa: PLR0913 - one decorator with keywords is what users want to write
    fn: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    effects: Literal["run", "record", "refuse"] = "run",
    pure: bool = False,
    refused: Any = _Nothing.NOTHING,
    tune: Iterable[str] = (),
    guard: Guard | None = None,
) -> Any:
    """Make a function, sync or async, a tool. Called, it is the function; ``.spec`` is what clients are given of it.

    Args:
        fn: the function, when the decorator is used without parentheses.
        name: the function's when left out.
        description: the original one; the docstring when left out.
        effects: what becomes of calls in a study or an evaluation. ``run``: they run. ``record``: they run once, and
            the result is kept by tool, arguments, example, and repeat. ``refuse``: they do not run. Elsewhere all run.
        pure: with ``record``: the arguments alone decide the result, so examples share it.
        refused: with ``refuse``: what the program gets instead; without it the study ends with an error.
        tune: parameters whose descriptions are tuned, too.
        guard: what a proposed description must keep to.

    Raises:
        SignatureError: there is no description, or ``tune`` names no described parameter.
        ConfigError: ``effects`` is none of these.
    """
    if effects not in tuple(Effects):
        raise ConfigError(f"effects={effects!r}: must be one of {', '.join(Effects)}")
    handling = _Handling(Effects(effects), pure, refused)

    def decorate(function: Callable[..., Any]) -> Tool[..., Any]:
        return Tool(function, handling, name=name, description=description, tune=tuple(tune), guard=guard)

    return decorate if fn is None else decorate(fn)


@dataclass(frozen=True, slots=True)
class _Handling:
    """What becomes of a tool's calls in a study."""

    effects: Effects
    pure: bool
    refused: Any


class Tool(Generic[P, R]):
    """A function that an LM may call."""

    def __init__(
        self,
        function: Callable[P, R],
        handling: _Handling,
        *,
        name: str | None = None,
        description: str | None = None,
        tune: tuple[str, ...] = (),
        guard: Guard | None = None,
    ) -> None:
        if takes_instance(function):
            raise SignatureError(f"tool {function.__qualname__!r} is a method: write it as a function")
        functools.update_wrapper(self, function)
        self._function = function
        self.name = local_qualname(function).replace(".", "_") if name is None else name
        """As the LM calls it."""
        self.is_async = inspect.iscoroutinefunction(function)
        """Whether a call is awaited."""
        said = description if description is not None else inspect.cleandoc(function.__doc__ or "")
        if not said:
            raise SignatureError(f"tool {self.name!r} has no description: give it a docstring, or description=...")
        self._tune = tune
        self._place = place_of(function)
        self._handling = handling
        records = handling.effects is Effects.RECORD
        self._run: Callable[..., Any] = Recorded(function, pure=handling.pure) if records else function
        self._description = Text(
            f"{self.name}.description",
            Kind.TOOL,
            said,
            facts=f"is the description of the tool `{self.name}`, by which a language model decides when to call the "
            f"tool, and how. It is called as {self.name}{inspect.signature(function)}.",
            guard=guard or Guard(),
            place=self._place,
        )

    @functools.cached_property
    def luthier_texts(self) -> tuple[Text, ...]:
        """Its description, and those of the parameters that are to be tuned."""
        return (self._description, *(self._parameter(name) for name in self._tune))

    @property
    def offer(self) -> request.Tool:
        """Name, description, and schema, as a request has them, with the current candidate's descriptions."""
        current = {text.name: text.current() for text in self.luthier_texts}
        properties = dict(self.parameters["properties"])
        for name in self._tune:
            properties[name] = {**properties[name], "description": current[f"{self.name}.{name}.description"]}
        return request.Tool(self.name, current[self._description.name], {**self.parameters, "properties": properties})

    @property
    def spec(self) -> dict[str, Any]:
        """The tool as OpenAI-compatible clients take it in ``tools=[...]``."""
        offer = self.offer
        function = {"name": offer.name, "description": offer.description, "parameters": dict(offer.parameters)}
        return {"type": "function", "function": function}

    @functools.cached_property
    def parameters(self) -> Mapping[str, Any]:
        """The JSON schema of its arguments; it is fixed."""
        schema = self._arguments.model_json_schema()
        schema.pop("title", None)
        bare = {name: {k: v for k, v in one.items() if k != "title"} for name, one in schema["properties"].items()}
        return {**schema, "properties": bare}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function, as its effects allow.

        Raises:
            ConfigError: in a study, a tool that refuses was called, and there is no stand-in.
        """
        run, handling = current_run(), self._handling
        if handling.effects is not Effects.REFUSE or run is None or run.ambient:
            return cast(R, self._run(*args, **kwargs))
        if handling.refused is _Nothing.NOTHING:
            raise ConfigError(
                f"the tool {self.name!r} refuses to run in a study: it has effects. Give it a stand-in, "
                "@lt.tool(effects='refuse', refused=...), or let it run once, effects='record'"
            )
        return cast(R, self._later() if self.is_async else handling.refused)

    def run(self, call: request.ToolCall | str) -> Any:
        """Call the function with the arguments that an LM wrote; awaitable where the function is async.

        Raises:
            Unparseable: they are no JSON, or not of the schema.
        """
        written = call if isinstance(call, str) else call.arguments
        try:
            given = self._arguments.model_validate(json.loads(written or "{}"))
        except ValueError as error:  # of json, and of pydantic
            raise Unparseable(f"the arguments of {self.name} cannot be read: {error}", text=written) from error
        return self._run_with({name: getattr(given, name) for name in type(given).model_fields})

    def answer(self, call: request.ToolCall) -> request.Message:
        """Return the turn that answers a call; what the LM wrote wrongly is said in it. For sync tools.

        Raises:
            ConfigError: the function is async; await ``aanswer``.
        """
        if self.is_async:
            raise ConfigError(f"the tool {self.name!r} is async: await its aanswer(call)")
        try:
            return _turn(call, self.run(call))
        except Unparseable as error:
            return _turn(call, str(error))

    async def aanswer(self, call: request.ToolCall) -> request.Message:
        """Return the turn that answers a call, sync or async."""
        try:
            result = self.run(call)
            return _turn(call, await result if inspect.isawaitable(result) else result)
        except Unparseable as error:
            return _turn(call, str(error))

    def __repr__(self) -> str:
        return f"<tool {self.name}>"

    def _run_with(self, given: Mapping[str, Any]) -> Any:
        positional, named = [], dict(given)
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.kind is parameter.POSITIONAL_ONLY:
                positional.append(named.pop(parameter.name))
        return cast("Callable[..., Any]", self)(*positional, **named)

    async def _later(self) -> Any:
        return self._handling.refused

    @functools.cached_property
    def _arguments(self) -> Any:
        """A pydantic model of the parameters."""
        import pydantic

        hints = inspect.get_annotations(self._function, eval_str=True)
        fields: dict[str, Any] = {}
        for parameter in inspect.signature(self._function).parameters.values():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                raise SignatureError(f"tool {self.name!r}: every parameter needs a name, {parameter} has none")
            annotation, metadata = split_annotated(hints.get(parameter.name, Any))
            # A plain string among the metadata is a description, as it is for predictors.
            metadata = tuple(pydantic.Field(description=one) if isinstance(one, str) else one for one in metadata)
            kind = Annotated[(annotation, *metadata)] if metadata else annotation
            fields[parameter.name] = (kind, ... if parameter.default is parameter.empty else parameter.default)
        return pydantic.create_model(self.name, **fields)

    def _parameter(self, name: str) -> Text:
        description = self.parameters["properties"].get(name, {}).get("description")
        if not description:
            raise SignatureError(
                f"tool {self.name!r}: tune names {name!r}, which is no parameter with a description; "
                "write Annotated[str, 'what it is']"
            )
        facts = f"is the description of the parameter `{name}` of the tool `{self.name}`, which a language model calls."
        return Text(f"{self.name}.{name}.description", Kind.TOOL, description, facts=facts, place=self._place)


def _turn(call: request.ToolCall, result: Any) -> request.Message:
    said = result if isinstance(result, str) else json.dumps(value_to_json(result), ensure_ascii=False)
    return request.Message("tool", said, tool_call_id=call.id)
