"""Prices of known models, from genai-prices, and only for a provider's own address."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def known_price(provider: str, model: str) -> tuple[float, float, float | None] | None:
    """Return USD per million tokens (input, output, cached input) of ``model``, or None where it is not known.

    Of tiered prices the highest counts, so that a reservation is never too small.
    """
    from genai_prices import Usage, calc_price

    try:
        found: Any = calc_price(
            Usage(input_tokens=1, output_tokens=1), model_ref=model, provider_id=provider
        ).model_price
    except LookupError:
        return None
    paid, written = _highest(found.input_mtok), _highest(found.output_mtok)
    if paid is None or written is None:
        return None
    return paid, written, _highest(found.cache_read_mtok)


def _highest(price: Any) -> float | None:
    if price is None or isinstance(price, (Decimal, int, float)):
        return None if price is None else float(price)
    return max(float(price.base), *(float(tier.price) for tier in price.tiers))
