"""``LM``: which language model, where, with which settings. Cheap to make; opens nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

from luthier.canonical import canonical_json, content_hash
from luthier.errors import ConfigError
from luthier.lm.models import ANSWER_ROOM, THINKING_ROOM, KnownModel, known_model
from luthier.lm.openai.sdk import ClientCompleter, client_address, client_selection
from luthier.lm.price import Price
from luthier.lm.profile import Profile, profile_named
from luthier.lm.providers import Address, is_loopback, resolve, without_credentials
from luthier.lm.redact import redact, register_secret
from luthier.lm.refusals import check_bounded
from luthier.lm.request import Completer, Completion, Request
from luthier.types import AUTO, Auto, Endpoint

__all__ = ["LM", "AnyCallable", "Price"]

_LOCAL = "local/"
_SERVER_IN_FLIGHT = 256
_SAMPLING = ("temperature", "max_tokens")
_THINKING = ("reasoning_effort", "thinking", "reasoning")
_LINE = ("client", "base_url", "api_key", "price", "max_in_flight", "rpm", "tpm", "timeout")

AnyCallable = Callable[[Request], Completion | str | Awaitable[Completion | str]]


class LM:
    """A language model and how to ask it.

    Args:
        model: "openai/NAME" or another known server's prefix; any name with ``base_url=``; "local/NAME" or
            "local/FILE.gguf" for the embedded engine; a callable from a ``Request`` to a ``Completion`` or text,
            sync or async; or an object with ``async complete(request)``.
        temperature: sampling temperature; 0 asks for the likeliest answer. None: it is not sent, and the server's own
            holds, so answers to one request differ and are told apart by number. Left out: 0, or None for models
            known to refuse it.
        max_tokens: the most tokens of an answer, hidden reasoning included. None: it is not sent, and the model's known
            maximum is reserved in budgets. Left out: 1,024, or 16,000 for models known to reason first.
        top_p: nucleus sampling; None leaves it to the server.
        reasoning_effort: how long a reasoning model may think, in its server's words: "low", "medium", "high", ….
        client: a ready client of the ``openai`` package, sync or async, to ask through; its own retries are off.
        base_url: where the server is, up to and without "/chat/completions".
        api_key: its key; None takes the provider's environment variable.
        price: what it costs; None looks the provider's own models up.
        max_in_flight: the most requests at once; None: 256, or 1 for an embedded model.
        rpm: the most requests a minute.
        tpm: the most tokens a minute.
        endpoint: "chat" or "completions"; None: chat, or completions for an embedded model.
        timeout: seconds until an answer is given up.
        extra: further fields of every request's body.
        slots: how many prompts an embedded model keeps warm.
        profile: "able" or "small": what its prompts, and what it proposes, are fitted to; None: small for embedded
            models and for names with less than 3B parameters, else able.
        structured: whether answers are held to JSON schemas (``response_format``) where their types need it; None:
            where the server is known to take them. False sends none: the prompt describes the form.

    Raises:
        ConfigError: a setting is out of range or contradicts the model.
    """

    __slots__ = ("_address", "_extra", "_found_price", "_identity", "_known", "_settings", "model")

    def __init__(  # noqa: PLR0913 - the settings of a language model, each with its own meaning
        self,
        model: str | AnyCallable | Completer,
        *,
        temperature: float | Auto | None = AUTO,
        max_tokens: int | Auto | None = AUTO,
        top_p: float | None = None,
        reasoning_effort: str | None = None,
        client: Any | None = None,
        base_url: str | None = None,
        api_key: str | None = None,
        price: Price | None = None,
        max_in_flight: int | None = None,
        rpm: int | None = None,
        tpm: int | None = None,
        endpoint: Literal["chat", "completions"] | Endpoint | None = None,
        timeout: float = 120.0,
        extra: Mapping[str, Any] | None = None,
        slots: int | None = None,
        profile: Literal["able", "small"] | Profile | None = None,
        structured: bool | None = None,
    ) -> None:
        self.model = model
        self._settings: dict[str, Any] = {
            "temperature": temperature,
            "max_tokens": max_tokens,
            "top_p": top_p,
            "reasoning_effort": reasoning_effort,
            "client": client,
            "base_url": base_url,
            "api_key": api_key,
            "price": price,
            "max_in_flight": max_in_flight,
            "rpm": rpm,
            "tpm": tpm,
            "endpoint": None if endpoint is None else _endpoint(endpoint),
            "timeout": timeout,
            "extra": dict(extra) if extra else {},
            "slots": slots,
            "profile": None if profile is None else _profile(profile),
            "structured": structured,
        }
        self._identity: str | None = None
        self._found_price: tuple[Price | None] | None = None
        register_secret(api_key)
        self._check_numbers()
        self._address: Address | None = self._resolve()
        self._known = KnownModel() if self._address is None else known_model(self._address.model)
        effort = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
        self._extra: dict[str, Any] = {**effort, **self._settings["extra"]}

    @property
    def name(self) -> str:
        """What people call it."""
        return self.model if isinstance(self.model, str) else _callable_name(self.model)

    @property
    def identity(self) -> str:
        """What tells it apart from every other model: name and base URL without credentials; local: the weights.

        Headers of a client's that select a model are in it by their hash.
        """
        if self._identity is None:
            self._identity = self._find_identity()
        return self._identity

    @property
    def is_local(self) -> bool:
        """Whether the embedded engine runs it."""
        return isinstance(self.model, str) and self.model.startswith(_LOCAL)

    @property
    def profile(self) -> Profile:
        """Whether it is an able model or a small one: as given, else by its name; what is no name is able."""
        given: Profile | None = self._settings["profile"]
        if given is not None:
            return given
        return profile_named(self.model, embedded=self.is_local) if isinstance(self.model, str) else Profile.ABLE

    @property
    def endpoint(self) -> Endpoint:
        """Which endpoint takes its requests."""
        chosen: Endpoint | None = self._settings["endpoint"]
        if chosen is not None:
            return chosen
        return Endpoint.COMPLETIONS if self.is_local else Endpoint.CHAT

    @property
    def temperature(self) -> float | None:
        """The sampling temperature; None: it is not sent."""
        value = self._settings["temperature"]
        if value is AUTO:
            return 0.0 if self._known.takes_temperature else None
        return None if value is None else float(value)

    @property
    def max_tokens(self) -> int | None:
        """The most tokens of an answer, hidden reasoning included; None: it is not sent."""
        value = self._settings["max_tokens"]
        if value is AUTO:
            return min(THINKING_ROOM if self.thinks else ANSWER_ROOM, self._known.most_tokens or THINKING_ROOM)
        return None if value is None else int(value)

    @property
    def most_tokens(self) -> int | None:
        """The most tokens that an answer can have: ``max_tokens``, else the model's known maximum, else None."""
        return self._known.most_tokens if self.max_tokens is None else self.max_tokens

    @property
    def thinks(self) -> bool:
        """Whether hidden reasoning takes a part of the answer's room: by the model's name, or as it was told to."""
        return self._known.thinks or any(_asks_to_think(self._extra.get(name)) for name in _THINKING)

    def room_for(self, answer: int) -> int | None:
        """Return the ``max_tokens`` of a request whose answer itself may have so many tokens."""
        if self.max_tokens is None:
            return None
        return max(answer, self.max_tokens) if self.thinks else answer

    @property
    def top_p(self) -> float | None:
        """Nucleus sampling; None leaves it to the server."""
        value: float | None = self._settings["top_p"]
        return value

    @property
    def timeout(self) -> float:
        """Seconds until an answer is given up."""
        return float(self._settings["timeout"])

    @property
    def extra(self) -> Mapping[str, Any]:
        """Further fields of every request's body, ``reasoning_effort`` among them."""
        return self._extra

    @property
    def slots(self) -> int:
        """How many prompts an embedded model keeps warm."""
        return self._settings["slots"] or 1

    @property
    def max_in_flight(self) -> int:
        """The most requests at once."""
        given: int | None = self._settings["max_in_flight"]
        if given is not None:
            return given
        # Slots keep prefixes warm. Several requests at once share one context, and answers depend on their neighbours.
        return 1 if self.is_local else _SERVER_IN_FLIGHT

    @property
    def rpm(self) -> int | None:
        """The most requests a minute."""
        value: int | None = self._settings["rpm"]
        return value

    @property
    def tpm(self) -> int | None:
        """The most tokens a minute."""
        value: int | None = self._settings["tpm"]
        return value

    @property
    def price(self) -> Price | None:
        """What it costs: as given, else as known for the provider's own address; nothing for an embedded model."""
        given: Price | None = self._settings["price"]
        if given is not None:
            return given
        if self.is_local:
            return Price(0.0, 0.0)
        if self._found_price is None:
            self._found_price = (self._look_up_price(),)
        return self._found_price[0]

    @property
    def supports_grammar(self) -> bool:
        """Whether it can be held to a GBNF grammar."""
        return self.is_local or _says(self.model, "supports_grammar")

    @property
    def supports_schema(self) -> bool:
        """Whether it is held to a JSON schema (``response_format``): as given, else where its server can."""
        given: bool | None = self._settings["structured"]
        if given is not None:
            return given and self.endpoint is Endpoint.CHAT
        if isinstance(self.model, str):
            known = self._address.provider if self._address is not None else None
            return self.is_local or (self.endpoint is Endpoint.CHAT and (known is None or known.schema))
        return _says(self.model, "supports_schema")

    @property
    def leaves_machine(self) -> str | None:
        """The host that reads the requests; None where they stay on this machine, or go to the user's own code.

        A user's own object may say it by an attribute of this name.
        """
        if self._address is None:
            told = getattr(self.model, "leaves_machine", None)
            return told if isinstance(told, str) else None
        if is_loopback(self._address.base_url):
            return None
        return urlsplit(self._address.base_url).hostname

    @property
    def address(self) -> Address | None:
        """Where the model is served; None for embedded models and callables."""
        return self._address

    @property
    def line(self) -> Hashable:
        """What LMs that differ only in sampling have in common: they share connections and limits."""
        # An identity is a guess for the user's own objects: two that look alike are still asked each for itself.
        own = None if isinstance(self.model, str) else id(self.model)
        return (self.identity, own, *(self._settings[name] for name in _LINE))

    def check(self, *, dollars: bool = False, tokens: bool = False) -> None:
        """Do what can be checked without a request.

        Args:
            dollars: what it costs must be known, since a budget limits it. A named engine on this machine
                (ollama/, vllm/, llamacpp/) costs nothing; any other server here may be a proxy to one that bills.
            tokens: a budget limits them, as it also does with dollars: the longest answer must be known.

        Raises:
            ConfigError: the provider wants a key and none is there, or no price or longest answer is known.
        """
        if dollars or tokens:
            check_bounded(self.most_tokens, self.name)
        address = self._address
        if dollars and self.price is None and (address is None or address.provider is None or self.leaves_machine):
            raise ConfigError(
                f"a budget in dollars needs a price for {self.name}: pass price=lt.Price(input=…, output=…) in dollars "
                "per million tokens (--price-in, --price-out; 0 where it is free), or limit lm_calls or tokens instead"
            )
        if address is not None and address.key_variable is not None and address.api_key is None:
            raise ConfigError(
                f"{self.name} needs a key: set the environment variable {address.key_variable}, "
                "or give it to lt.LM as api_key"
            )

    def open(self) -> Completer:
        """Return what answers this model's requests; called once per gateway, on the engine's loop.

        Raises:
            ConfigError: the provider wants a key and none is there.
        """
        self.check()
        if self.is_local:
            from luthier.lm.embedded import EmbeddedCompleter

            return EmbeddedCompleter(self.name.removeprefix(_LOCAL), slots=self.slots, timeout=self.timeout)
        if self._address is not None and self._settings["client"] is not None:
            return ClientCompleter(self._settings["client"], self._address, timeout=self.timeout)
        if self._address is not None:
            from luthier.lm.client import Client

            return Client(self._address, timeout=self.timeout)
        from luthier.lm.callables import CallableCompleter

        ask: Any = getattr(self.model, "complete", self.model)
        return CallableCompleter(ask, name=self.name, timeout=self.timeout)

    def with_settings(self, **changes: Any) -> LM:
        """Return the same model with other settings.

        Raises:
            ConfigError: a setting is unknown or out of range.
        """
        model = changes.pop("model", self.model)
        unknown = sorted(changes.keys() - self._settings.keys())
        if unknown:
            raise ConfigError(f"LM has no setting {', '.join(unknown)}; it has {', '.join(self._settings)}.")
        return LM(model, **{**self._settings, **changes})

    def known_as(self, identity: str) -> LM:
        """Return it under an identity found elsewhere."""
        return _arrived(self.model, self._settings, identity)

    def __copy__(self) -> LM:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> LM:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # To another process it goes without key and credentials; there it has those of its environment, if any.
        plain = {**self._settings, "api_key": None}
        if plain["base_url"] is not None:
            plain["base_url"] = without_credentials(plain["base_url"])
        return _arrived, (self.model, plain, self.identity)

    def __repr__(self) -> str:
        shown = [repr(self.name)]
        for name, value in self._settings.items():
            if name in _SAMPLING:
                value = getattr(self, name)
            elif value in (None, {}) or (name == "timeout" and value == 120.0):
                continue
            shown.append(f"{name}={_shown(name, value)}")
        return f"LM({', '.join(shown)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LM):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        return hash((self.identity, self.temperature, self.max_tokens, self.endpoint))

    def _comparable(self) -> tuple[str, dict[str, Any]]:
        plain = {name: value for name, value in self._settings.items() if name != "base_url"}
        return self.identity, {**plain, **{name: getattr(self, name) for name in _SAMPLING}}

    def _check_numbers(self) -> None:
        settings = self._settings
        heat = settings["temperature"]
        if heat is not None and heat is not AUTO and not (isinstance(heat, (int, float)) and heat >= 0):
            raise ConfigError(f"LM(temperature={heat!r}) must be zero or above, or None to leave it to the server.")
        if settings["top_p"] is not None and not 0 < settings["top_p"] <= 1:
            raise ConfigError(f"LM(top_p={settings['top_p']!r}) must be above 0 and at most 1.")
        for name in ("max_tokens", "max_in_flight", "rpm", "tpm", "slots", "timeout"):
            value = settings[name]
            if value is not None and value is not AUTO and not (isinstance(value, (int, float)) and value > 0):
                raise ConfigError(f"LM({name}={value!r}) must be above zero.")
        try:
            canonical_json(settings["extra"])
        except (TypeError, ValueError) as error:
            raise ConfigError(f"LM(extra=…) must hold only what JSON can hold: {error}.") from error

    def _resolve(self) -> Address | None:
        settings = self._settings
        if settings["client"] is not None:
            return client_address(self.model, settings["client"], settings)
        if settings["slots"] is not None and not self.is_local:
            raise ConfigError(f"LM({self.name!r}): slots= is for embedded models (local/…) only.")
        if not isinstance(self.model, str):
            if not callable(self.model) and not hasattr(self.model, "complete"):
                raise ConfigError(f"LM({self.model!r}): not a name, a callable, or an object with complete().")
            return None
        if self.is_local:
            if settings["base_url"] is not None or not self.model[len(_LOCAL) :]:
                raise ConfigError(f"LM({self.model!r}): an embedded model is 'local/NAME', without base_url=.")
            return None
        address = resolve(self.model, settings["base_url"], settings["api_key"])
        register_secret(address.api_key)
        register_secret(urlsplit(address.base_url).password)
        return address

    def _find_identity(self) -> str:
        if self._address is not None:
            chosen = client_selection(self._settings["client"])
            told = f" with {content_hash(chosen)[:16]}" if chosen else ""
            return f"{self._address.model} at {without_credentials(self._address.base_url)}{told}"
        if isinstance(self.model, str):
            from luthier.lm.local import weights_identity

            return weights_identity(self.model[len(_LOCAL) :])
        from luthier.lm.callables import callable_identity

        return callable_identity(self.model)

    def _look_up_price(self) -> Price | None:
        if self._address is None or self._address.provider is None or self._address.provider.prices is None:
            return None
        from luthier.lm.prices import known_price

        found = known_price(self._address.provider.prices, self._address.model)
        return None if found is None else Price(*found)


def _endpoint(value: str) -> Endpoint:
    try:
        return Endpoint(value)
    except ValueError as error:
        raise ConfigError(f"LM(endpoint={value!r}) must be 'chat' or 'completions'.") from error


def _asks_to_think(setting: Any) -> bool:
    """Say whether a field of a request turns thoughts on: "low", {"type": "enabled"}, …; not "none", nor False."""
    if isinstance(setting, Mapping):
        setting = next((setting[name] for name in ("type", "effort", "enabled") if name in setting), bool(setting))
    return setting not in (None, False, "none", "disabled")


def _profile(value: str) -> Profile:
    try:
        return Profile(value)
    except ValueError as error:
        raise ConfigError(f"LM(profile={value!r}) must be 'able' or 'small'.") from error


def _arrived(model: Any, settings: Mapping[str, Any], identity: str) -> LM:
    made = LM(model, **settings)
    made._identity = identity
    return made


def _callable_name(model: object) -> str:
    name = getattr(model, "__qualname__", None) or getattr(model, "identity", None) or type(model).__qualname__
    return str(name)


def _says(model: object, attribute: str) -> bool:
    return getattr(model, attribute, False) is True


def _shown(name: str, value: Any) -> str:
    if name == "api_key":
        return "'…'"
    return repr(without_credentials(value)) if name == "base_url" else redact(repr(value))
