"""What a model costs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from luthier.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs, in USD per million tokens.

    Raises:
        ConfigError: a price is negative or not a finite number.
    """

    input: float
    output: float
    cached_input: float | None = None
    """None: the same as ``input``."""

    def __post_init__(self) -> None:
        for value in (self.input, self.output, self.cached_input):
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ConfigError(f"{self} must hold numbers at or above zero, in USD per million tokens.")

    def usd(self, prompt_tokens: float, completion_tokens: float, cached_tokens: float = 0) -> float:
        """Return what these tokens cost."""
        cached = min(cached_tokens, prompt_tokens)
        cached_price = self.input if self.cached_input is None else self.cached_input
        return (
            (prompt_tokens - cached) * self.input + cached * cached_price + completion_tokens * self.output
        ) / 1_000_000
