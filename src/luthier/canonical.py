"""One canonical JSON and one tagged hash; changing either changes every key on disk."""

from __future__ import annotations

import hashlib
import json
from typing import Any

_TAG = "b2"
_DIGEST_BYTES = 16
# Made once: `json.dumps` makes a new one at every call that names an option.
_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Return ``value`` as JSON with sorted keys, no spaces, and no NaN.

    Raises:
        TypeError: the value has something that JSON cannot hold.
        ValueError: the value has a NaN or an infinity.
    """
    return _ENCODER.encode(value)


def content_hash(value: Any) -> str:
    """Return the tagged BLAKE2b hash of ``value``'s canonical JSON, e.g. ``b2:3f…`` (32 hex digits)."""
    digest = hashlib.blake2b(canonical_json(value).encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES)
    return f"{_TAG}:{digest.hexdigest()}"


def uniform_order(seed: int | str, key: str) -> int:
    """Return a 64-bit number that orders ``key`` at random but reproducibly under ``seed``."""
    digest = hashlib.blake2b(f"{seed}\x00{key}".encode(), digest_size=8)
    return int.from_bytes(digest.digest(), "big")
