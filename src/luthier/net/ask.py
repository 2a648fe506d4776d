"""One GET request to a JSON service."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any

from luthier.errors import ConfigError, Unavailable
from luthier.net.fetch import shown


def get_json(url: str, query: Mapping[str, str], *, timeout: float = 30.0) -> Any:
    """Return what a service answers to ``url`` with that query, read as JSON.

    Raises:
        ConfigError: ``url`` is neither http nor https.
        Unavailable: the service could not be reached, failed, or sent no JSON.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ConfigError(f"cannot ask {shown(url)}: only http and https addresses can be asked.")
    try:
        address = f"{url}{'&' if '?' in url else '?'}{urllib.parse.urlencode(query)}"
        with urllib.request.build_opener().open(address, timeout=timeout) as response:
            return json.loads(response.read())
    except urllib.error.HTTPError as error:
        error.close()
        raise Unavailable(f"{shown(url)} answered {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Unavailable(f"{shown(url)} gave no answer: {error}") from error
