"""The OpenAI-compatible servers that have a name, and what is known about each."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from luthier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Provider:
    """One named server."""

    base_url: str
    key_variable: str | None
    """The environment variable with its key; None for servers without keys."""
    prices: str | None = None
    """Its name in genai-prices."""
    schema: bool = True
    """Whether it takes ``response_format: json_schema``."""
    url_variable: str | None = None


PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "openai", url_variable="OPENAI_BASE_URL"),
    "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY", "openrouter"),
    "together": Provider("https://api.together.xyz/v1", "TOGETHER_API_KEY", "together"),
    "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY", "groq", schema=False),
    "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY", "mistral"),
    "deepseek": Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY", "deepseek", schema=False),
    "fireworks": Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY", "fireworks"),
    "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY", "cerebras"),
    "gemini": Provider("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", "google"),
    "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY", "x-ai"),
    "ollama": Provider("http://localhost:11434/v1", None),
    "vllm": Provider("http://localhost:8000/v1", None),
    "llamacpp": Provider("http://localhost:8080/v1", None),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a model is served."""

    model: str
    """The name that is sent to the server."""
    base_url: str
    api_key: str | None
    provider: Provider | None
    """The named server, where the address is its own."""
    key_variable: str | None
    """Where a missing key was looked for, if one is needed."""


def resolve(name: str, base_url: str | None, api_key: str | None) -> Address:
    """Say where the model called ``name`` is served.

    A known prefix ("openai/", "vllm/", …) is taken off the name that is sent; any other name is sent whole.

    Raises:
        ConfigError: neither a known prefix nor a base URL says where the model is, or the URL is none.
    """
    prefix, slash, rest = name.partition("/")
    provider = PROVIDERS.get(prefix) if slash and rest else None
    if provider is None:
        if base_url is None:
            known = ", ".join(f"{each}/" for each in PROVIDERS)
            raise ConfigError(f"LM({name!r}): no known provider; begin with one of {known}, local/, or give base_url=.")
        return Address(name, _checked(name, base_url), api_key, None, None)
    chosen = base_url or (os.environ.get(provider.url_variable) if provider.url_variable else None) or provider.base_url
    chosen = _checked(name, chosen)
    key = api_key if api_key is not None else _environment(provider.key_variable)
    own = chosen.rstrip("/") == provider.base_url
    return Address(rest, chosen, key, provider if own else None, provider.key_variable if own else None)


def without_credentials(url: str) -> str:
    """Return ``url`` without user, password, query and fragment: what identifies a server."""
    parts = urlsplit(url)
    return SplitResult(parts.scheme, _host(parts), parts.path.rstrip("/"), "", "").geturl()


def is_loopback(url: str) -> bool:
    """Say whether ``url`` stays on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2].lower()


def _environment(variable: str | None) -> str | None:
    return (os.environ.get(variable) or None) if variable is not None else None


def _checked(name: str, url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"LM({name!r}): base_url {without_credentials(url)!r} is no http(s) address.")
    return url.rstrip("/")
