"""DSPy's own client as a language model: it sends the bytes it always sent; luthier says when, and how often."""

from __future__ import annotations

from typing import Any

import dspy
from dspy.utils import exceptions as theirs

from luthier.errors import (
    AccessDenied,
    CallTimeout,
    ConfigError,
    LMError,
    RateLimited,
    RequestRejected,
    ServerFault,
    Unreachable,
)
from luthier.integrations.dspy.wire import WHOLE, from_request, to_completion
from luthier.lm.lm import LM, Price
from luthier.lm.prices import known_price
from luthier.lm.providers import PROVIDERS, is_loopback, without_credentials
from luthier.lm.redact import redact, register_secret
from luthier.lm.request import Completion, Request, Usage
from luthier.lm.user_code import in_daemon_thread

_CLIENT = ("api_key", "api_base", "base_url", "headers", "extra_headers", "timeout", "api_version", "organization")
_QUOTA_WORDS = ("insufficient_quota", "billing_hard_limit", "insufficient balance", "insufficient credits")
_TOKENS = 1024
_SECONDS = 600.0


class DspyClient:
    """Asks a ``dspy.LM``, or any other ``dspy.BaseLM``, once a request: no cache of DSPy's, no retries of DSPy's.

    Args:
        lm: the user's; a copy is asked, so that it stays as it is.
    """

    def __init__(self, lm: Any) -> None:
        self.theirs = lm
        self._lm = lm.copy(cache=False, num_retries=0, callbacks=[])
        self._is_async = hasattr(lm, "_engine_spec") and isinstance(lm._engine_spec, str)
        self.model: str = lm.model
        self.__qualname__ = self.model  # what people call it
        register_secret(_secret(lm))

    @property
    def identity(self) -> str:
        """What tells it apart, without credentials."""
        base = _base_url(self.theirs)
        kind = (
            "" if type(self.theirs) is dspy.LM else f"{type(self.theirs).__module__}.{type(self.theirs).__qualname__} "
        )
        return f"{kind}{self.model}{'' if base is None else f' at {without_credentials(base)}'}"

    @property
    def leaves_machine(self) -> str | None:
        """Who reads the requests; None where they stay on this machine."""
        base = _base_url(self.theirs)
        if base is not None:
            return None if is_loopback(base) else without_credentials(base)
        return self.model.partition("/")[0] if isinstance(self.theirs, dspy.LM) and self._is_async else None

    async def complete(self, request: Request) -> Completion:
        """Return the completion.

        Raises:
            LMError: as the tree of ``luthier.errors`` says for DSPy's own error.
        """
        asked = from_request(request, self.model)
        try:
            with dspy.context(disable_history=True, callbacks=[], usage_tracker=None, send_stream=None):
                if self._is_async:
                    response = await self._lm.acall(asked)
                else:
                    response = await in_daemon_thread(lambda: self._lm(asked))
        except theirs.ContextWindowExceededError as error:
            # One prompt that is too long is an answer, if a bad one; it must not end a study.
            return Completion("", "length", Usage(calls=1), refusal=redact(str(error)))
        except theirs.LMError as error:
            raise _ours(error, self.model) from error
        return to_completion(response, whole=WHOLE in request.extra)


def lm_of(lm: Any) -> LM:
    """Return an ``lt.LM`` that asks a DSPy LM with DSPy's own client, with its sampling settings and its price.

    Raises:
        ConfigError: it is no DSPy LM.
    """
    if isinstance(lm, LM):
        return lm
    if not isinstance(lm, dspy.BaseLM):
        raise ConfigError(f"{lm!r} is neither a dspy.LM nor an lt.LM")
    settings = lm.kwargs
    temperature, most = settings.get("temperature"), settings.get("max_tokens") or settings.get("max_completion_tokens")
    return LM(
        DspyClient(lm),
        # Left out, the provider's default holds, which is 1 for all that DSPy knows.
        temperature=1.0 if temperature is None else float(temperature),
        max_tokens=_TOKENS if most is None else int(most),
        price=_price(lm),
        timeout=_SECONDS,
    )


def without_connection(settings: dict[str, Any]) -> dict[str, Any]:
    """Return a DSPy LM's settings without those of its connection."""
    return {name: value for name, value in settings.items() if name not in _CLIENT}


def _base_url(lm: Any) -> str | None:
    found = lm.kwargs.get("api_base") or lm.kwargs.get("base_url")
    return found if isinstance(found, str) else None


def _secret(lm: Any) -> str | None:
    key = lm.kwargs.get("api_key")
    return key if isinstance(key, str) and len(key) > 3 else None


def _price(lm: Any) -> Price | None:
    prefix, _, model = lm.model.partition("/")
    provider = PROVIDERS.get(prefix)
    base = _base_url(lm)
    if base is not None and is_loopback(base):
        return Price(0.0, 0.0)
    if provider is None or provider.prices is None or (base is not None and base.rstrip("/") != provider.base_url):
        return None
    found = known_price(provider.prices, model)
    return None if found is None else Price(*found)


def _ours(error: Any, model: str) -> LMError:
    said = redact(f"{model}: {error}")
    wait = getattr(error, "retry_after", None)
    denied = isinstance(error, (theirs.LMAuthError, theirs.LMBillingError, theirs.LMNotConfiguredError))
    if denied or any(word in said.lower() for word in _QUOTA_WORDS):
        return AccessDenied(said)
    if isinstance(error, theirs.LMRateLimitError):
        return RateLimited(said, retry_after=wait)
    if isinstance(error, theirs.LMTimeoutError):
        return CallTimeout(said, retry_after=wait)
    if isinstance(error, (theirs.LMTransportError, theirs.LMLockTimeoutError)):
        return Unreachable(said)
    if isinstance(error, theirs.LMServerError) or (isinstance(error, theirs.LMProviderError) and _is_fault(error)):
        return ServerFault(said, retry_after=wait)
    cause = error.__cause__
    if isinstance(error, theirs.LMUnexpectedError) and isinstance(cause, (ConnectionError, TimeoutError, OSError)):
        return Unreachable(said)
    if isinstance(error, theirs.LMUnexpectedError) and isinstance(cause, LMError):
        return cause
    return RequestRejected(said)


def _is_fault(error: Any) -> bool:
    status = getattr(error, "status", None)
    return isinstance(status, int) and (status >= 500 or status in (408, 409, 425))
