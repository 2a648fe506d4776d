"""Parameters that a server refuses: found in its words, learned once for an LM, and left out from then on."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from luthier.canonical import uniform_order
from luthier.errors import ConfigError, RequestRejected
from luthier.lm.own_request import OwnRequest
from luthier.lm.request import Completion, Request

COMPLETION_TOKENS = "max_completion_tokens"
_LIMITS = (COMPLETION_TOKENS, "max_tokens", "max_output_tokens")
LEARNED = ("temperature", "top_p", "max_tokens", COMPLETION_TOKENS, "stop", "seed", "response_format", "logprobs")
"""What a request can do without. Anything else that a server refuses is the caller's to change."""
_ALSO_NAMED = ("reasoning_effort", "top_logprobs", "tools", "grammar", "json_schema", "thinking", "reasoning")
_ALIASES: Mapping[str, str] = {
    "top_logprobs": "logprobs",
    "json_schema": "response_format",
    "response format": "response_format",
    "max_output_tokens": "max_tokens",
    "stop sequences": "stop",
    "stop_sequences": "stop",
}
_REFUSING = re.compile(
    r"unsupported|(?:not|n't|cannot|no longer) (?:\w+ ){0,2}(?:support|permit|allow|accept|enabled|available|recogni)|"
    r"does(?: not|n't) support|unavailable|deprecated|unknown (?:name|parameter|field|argument)|unrecogni[sz]ed|"
    r"extra_forbidden|extra inputs|extraneous|unexpected keyword|cannot both be specified|is enabled only for|"
    r"only the default|please remove|invalid parameter|only supports? \w+ ?= ?\d|"
    r"only \d[\d.]* is allowed|may only be set to \d",
    re.IGNORECASE,
)
_RANGE = re.compile(
    r"too (?:large|small|high|low|big|long)|at (?:most|least)|maximum|minimum|exceed|greater than|less than|between|"
    r"in the range|out of range|[<>]=?",
    re.IGNORECASE,
)
_DEEPEST = 6


@dataclass(frozen=True, slots=True)
class RefusedParameter:
    """The field of a request that a server's words are about."""

    name: str
    """As it is sent."""
    value_only: bool
    """Only this value is wrong, so leaving the field out would change what the user asked for."""


def refused_parameter(content: str) -> RefusedParameter | None:
    """Return the parameter that the body of a 400 or 422 refuses, None where it names none.

    >>> refused_parameter('{"error": "Argument not supported on this model: stop"}').name
    'stop'
    """
    said = _read(content)
    named, sentences = _named_fields(said), list(_sentences(said))
    text = " ".join(sentences)
    if named:
        return RefusedParameter(named[0], value_only=not _REFUSING.search(text))
    for sentence in sentences:
        refusing = _REFUSING.search(sentence)
        if (name := _first_name(sentence)) is not None and (refusing or _RANGE.search(sentence)):
            return RefusedParameter(name, value_only=refusing is None)
    return None


def _read(content: str) -> Any:
    """Return a body as JSON, with the JSON that its texts hold."""
    try:
        return _unfolded(json.loads(content), 0)
    except ValueError:
        return content


def _unfolded(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return value
    if isinstance(value, Mapping):
        return {str(name): _unfolded(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list):
        return [_unfolded(one, depth + 1) for one in value]
    if isinstance(value, str) and "{" in value:
        start = value.index("{")
        try:
            return _unfolded(json.loads(value[start : value.rindex("}") + 1]), depth + 1)
        except ValueError:
            return value
    return value


def _named_fields(said: Any) -> list[str]:
    """Return the parameters that a body names in a field of their own: OpenAI's ``param``, pydantic's ``loc``."""
    found = []
    for one in _mappings(said):
        param, place = one.get("param"), one.get("loc")
        if isinstance(param, str) and (name := _known(param.split(".")[0].split("[")[0])) is not None:
            found.append(name)
        if isinstance(place, list) and len(place) == 2 and (name := _known(str(place[1]))) is not None:
            found.append(name)
    return found


def _mappings(said: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(said, Mapping):
        yield said
    for one in said.values() if isinstance(said, Mapping) else said if isinstance(said, list) else ():
        yield from _mappings(one)


def _sentences(said: Any) -> Iterator[str]:
    if isinstance(said, str):
        said = said.split("did you mean")[0]
        # Gemini gives a line to each field, Bedrock a "#:".
        yield from (part for part in re.split(r"\n|#:|(?<=[a-z)])\. ", said) if part.strip())
    for one in said.values() if isinstance(said, Mapping) else said if isinstance(said, list) else ():
        yield from _sentences(one)


_WORDS = sorted({*LEARNED, *_ALSO_NAMED, *_ALIASES}, key=len, reverse=True)
_PLAIN = {"stop", "seed", "tools", "thinking", "reasoning", "grammar"}
_NAME = re.compile(
    "|".join(
        # A name that is a word of English counts only where it is quoted, or ends the sentence.
        rf"['\"`\[]{re.escape(word)}['\"`\]]|(?:parameter|argument|field|model):? {re.escape(word)}\b"
        if word in _PLAIN
        else rf"(?<![\w-]){re.escape(word)}(?![\w-])"
        for word in _WORDS
    ),
    re.IGNORECASE,
)


def _first_name(sentence: str) -> str | None:
    snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", sentence)  # xAI: reasoningEffort
    match = _NAME.search(snake)
    if match is None:
        return None
    bare = match.group().strip("'\"`[]")
    return _known(bare if bare.lower() in _WORDS else bare.rsplit(" ", 1)[-1])


def _known(name: str) -> str | None:
    lowered = name.lower()
    lowered = _ALIASES.get(lowered, lowered)
    return lowered if lowered in (*LEARNED, *_ALSO_NAMED) else None


# --- requests without what is refused ------------------------------------------------------------------------------


def sends(request: Request, parameter: str) -> bool:
    """Say whether a request has that parameter, in a field of its own or among the further ones."""
    own = {
        "temperature": request.temperature,
        "top_p": request.top_p,
        "max_tokens": request.max_tokens,
        "stop": request.stop or None,
        "seed": request.seed,
        "response_format": request.schema,
    }
    return own.get(parameter) is not None or request.extra.get(parameter) is not None


def without(request: Request, parameter: str) -> Request:
    """Return the request without a parameter, or with what takes its place."""
    extra = {name: value for name, value in request.extra.items() if name != parameter}
    if parameter == "max_tokens":
        most = request.max_tokens if request.max_tokens is not None else request.extra.get("max_tokens")
        renamed = {} if most is None or COMPLETION_TOKENS in extra else {COMPLETION_TOKENS: most}
        return replace(request, max_tokens=None, extra={**extra, **renamed})
    if parameter == "logprobs":
        return replace(request, extra={name: value for name, value in extra.items() if name != "top_logprobs"})
    request = replace(request, extra=extra)
    match parameter:
        case "temperature":
            return without_temperature(request)
        case "top_p":
            return replace(request, top_p=None)
        case "stop":
            return replace(request, stop=())
        case "seed":
            return replace(request, seed=None)
        case "response_format":
            return replace(request, schema=None)
    return request


def without_temperature(request: Request) -> Request:
    """Return the request without its temperature, as a draw of its own: what differed by temperature still does."""
    if request.temperature is None:
        return request
    number = request.sample
    if not number and request.draw is not None:
        number = request.draw()
    drawn = (uniform_order(f"temperature {request.temperature:g}", str(number)) >> 12) | 1
    return replace(request, temperature=None, sample=drawn, draw=None)


def most_written(request: Request) -> int | None:
    """Return the most tokens that a request lets its answer have, None where it does not say."""
    found = [request.max_tokens, *(request.extra.get(name) for name in _LIMITS)]
    return max((most for most in found if isinstance(most, int)), default=None)


def cut_at_stops(completion: Completion, stops: Iterable[str]) -> Completion:
    """Return a completion that ends where the server would have ended it, had it taken the stops."""
    places = [place for stop in stops if (place := completion.text.find(stop)) >= 0]
    if not places:
        return completion
    return replace(completion, text=completion.text[: min(places)], finish_reason="stop")


# --- learning ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Refusal:
    """A parameter that an LM's server was found to refuse."""

    lm: str
    """The LM's identity."""
    name: str
    """Its name."""
    parameter: str
    instead: str | None = None
    """What is sent in its place."""

    @property
    def sentence(self) -> str:
        """What people are told, once."""
        then = "it is left out" if self.instead is None else f"{self.instead} is sent in its place"
        return f"{self.name} refuses the parameter {self.parameter}: {then} from now on"

    def to_json(self) -> dict[str, Any]:
        """Return it as a journal keeps it."""
        return asdict(self)


class Refusals:
    """What is known to be refused, by LM. Belongs to the engine's loop.

    Args:
        known: what an earlier session learned.
        record: keeps a new one for good, and reports it; it is awaited before any call goes out without the
            parameter. None: it is only logged.
    """

    def __init__(
        self, known: Iterable[Refusal] = (), record: Callable[[Refusal], Awaitable[None]] | None = None
    ) -> None:
        self._known: dict[str, list[str]] = {}
        for refusal in known:
            self._known.setdefault(refusal.lm, []).append(refusal.parameter)
        self._record = record
        self._recording: dict[tuple[str, str], asyncio.Task[None]] = {}

    def as_sent(self, lm: str, request: Request) -> Request:
        """Return the request without what the LM of that identity refuses."""
        for parameter in self._known.get(lm, ()) if not isinstance(request, OwnRequest) else ():
            if sends(request, parameter):
                request = without(request, parameter)
        return request

    async def learn(self, lm: str, name: str, sent: Request, error: RequestRejected) -> bool:
        """Learn from a refusal, and return whether to try again without the parameter.

        Args:
            lm: the LM's identity.
            name: its name.
            sent: the request as it was sent.
            error: what it came back with.
        """
        parameter = error.parameter
        if isinstance(sent, OwnRequest) or error.value_only or parameter not in LEARNED:
            return False
        if parameter == "max_tokens" and not sends(sent, parameter) and COMPLETION_TOKENS in sent.extra:
            parameter = COMPLETION_TOKENS  # servers speak of either by the older name
        if not sends(sent, parameter):
            return False
        if parameter not in self._known.get(lm, ()):
            key = (lm, parameter)
            if key not in self._recording:
                self._recording[key] = asyncio.create_task(self._add(lm, name, parameter))
            await asyncio.shield(self._recording[key])
        return True

    async def _add(self, lm: str, name: str, parameter: str) -> None:
        refusal = Refusal(lm, name, parameter, COMPLETION_TOKENS if parameter == "max_tokens" else None)
        if self._record is None:
            logging.getLogger("luthier").warning("%s", refusal.sentence)
        else:
            await self._record(refusal)
        self._known.setdefault(lm, []).append(parameter)


def hint(parameter: RefusedParameter) -> str:
    """Return what to do about a parameter that is refused."""
    setting = "max_tokens" if parameter.name in _LIMITS else parameter.name
    own = setting in ("temperature", "max_tokens", "top_p", "reasoning_effort")
    where = f"lt.LM({setting}=…)" if own else f"{setting!r} in lt.LM(extra=…), or where your program sets it"
    what = f"this value of {setting}" if parameter.value_only else f"the parameter {setting}"
    return f"It refuses {what}: change {where}" + (f", or pass {setting}=None to leave it out." if own else ".")


def check_bounded(most: int | None, name: str) -> None:
    """Do nothing where the longest answer is known.

    Raises:
        ConfigError: it is not, so a limit on tokens or dollars would mean nothing.
    """
    if most is None:
        raise ConfigError(
            f"a budget in tokens or dollars needs the longest answer of {name}, which is unknown: "
            "pass max_tokens= (--max-tokens), or limit lm_calls instead"
        )
