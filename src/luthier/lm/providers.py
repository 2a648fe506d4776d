"""The OpenAI-compatible servers that have a name, and what is known about each."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from luthier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Provider:
    """One named server."""

    base_url: str
    """Its address; a variable of the environment in braces is filled in, the first one that is set."""
    key_variable: str | None
    """The environment variable with its key; None for servers without keys."""
    prices: str | None = None
    """Its name in genai-prices."""
    schema: bool = True
    """Whether it takes ``response_format: json_schema``."""
    url_variable: str | None = None
    otherwise: str = ""
    """What to do where the address cannot be made, or does not serve the model."""


_PROXY = "run LiteLLM's proxy (`litellm --model {name}`) and give its address: base_url='http://localhost:4000/v1'"

PROVIDERS: Mapping[str, Provider] = {
    "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY", "openai", url_variable="OPENAI_BASE_URL"),
    "anthropic": Provider("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", "anthropic", schema=False),
    "azure": Provider(
        "{AZURE_OPENAI_ENDPOINT|AZURE_API_BASE}/openai/v1",
        "AZURE_OPENAI_API_KEY",
        "azure",
        otherwise="set it to https://RESOURCE.openai.azure.com, or give base_url='https://RESOURCE.openai.azure.com/"
        "openai/v1'; for dated API versions give client=openai.AzureOpenAI(…), or ",
    ),
    "bedrock": Provider(
        "https://bedrock-runtime.{AWS_REGION|AWS_DEFAULT_REGION}.amazonaws.com/openai/v1",
        "AWS_BEARER_TOKEN_BEDROCK",
        "aws",
        otherwise="set it to a region, as in us-east-1; for models that Bedrock does not serve at its "
        "OpenAI-compatible address, ",
    ),
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
            raise ConfigError(
                f"LM({name!r}): no known provider; begin with one of {known}, local/, or give base_url=. "
                f"For any other provider {_PROXY.format(name=name)}."
            )
        return Address(name, _checked(name, base_url), api_key, None, None)
    chosen = base_url or (os.environ.get(provider.url_variable) if provider.url_variable else None)
    own_url = provider.base_url if chosen else _filled(name, provider)
    chosen = _checked(name, chosen or own_url)
    key = api_key if api_key is not None else _environment(provider.key_variable)
    own = chosen.rstrip("/") == own_url
    return Address(rest, chosen, key, provider if own else None, provider.key_variable if own else None)


def _filled(name: str, provider: Provider) -> str:
    """Return a provider's address with the variables of the environment filled in.

    Raises:
        ConfigError: none of the variables is set.
    """

    def value(match: re.Match[str]) -> str:
        variables = match.group(1).split("|")
        found = next((os.environ[variable] for variable in variables if os.environ.get(variable)), None)
        if found is None:
            raise ConfigError(
                f"LM({name!r}) needs the environment variable {' or '.join(variables)}: "
                f"{provider.otherwise}{_PROXY.format(name=name)}."
            )
        return found.strip().rstrip("/").removesuffix("/openai/v1")

    return re.sub(r"\{([A-Z_|]+)\}", value, provider.base_url)


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
