"""Which point seems best so far, without believing in luck."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True, slots=True)
class Tally:
    """Running sums of one point's values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def plus(self, values: Iterable[float]) -> Tally:
        """Return the tally with further values."""
        n, total, squares = self.n, self.total, self.squares
        for value in values:
            n, total, squares = n + 1, total + value, squares + value * value
        return Tally(n, total, squares)

    @property
    def mean(self) -> float:
        """Mean of the values."""
        return self.total / self.n


def best_shrunken(tallies: Mapping[str, Tally]) -> float | None:
    """Return the highest mean after each is drawn towards the mean of all as far as its noise demands.

    The raw maximum over many small samples is too high by the luck of its winner; this is the
    empirical-Bayes estimate (DerSimonian and Laird's between-variance), the one to show as "best so far".
    """
    known = [tally for tally in tallies.values() if tally.n > 0]
    if not known:
        return None
    noise = _within(known)
    spread, centre = _between(known, noise)
    return max(centre + (tally.mean - centre) * spread / (spread + noise / tally.n) for tally in known)


def _within(tallies: list[Tally]) -> float:
    """Variance of values around their own point's mean, pooled."""
    degrees = sum(tally.n - 1 for tally in tallies)
    if degrees == 0:
        return 0.25
    squares = sum(tally.squares - tally.total**2 / tally.n for tally in tallies)
    return max(squares / degrees, _LEAST_VARIANCE)


def _between(tallies: list[Tally], noise: float) -> tuple[float, float]:
    """Variance of the points' true means, and their centre."""
    weights = [tally.n / noise for tally in tallies]
    whole = sum(weights)
    centre = sum(w * tally.mean for w, tally in zip(weights, tallies, strict=True)) / whole
    scatter = sum(w * (tally.mean - centre) ** 2 for w, tally in zip(weights, tallies, strict=True))
    scale = whole - sum(w * w for w in weights) / whole
    spread = max(0.0, (scatter - (len(tallies) - 1)) / scale) if scale > 0 else 0.0
    finals = [1 / (spread + noise / tally.n) for tally in tallies]
    centre = sum(w * tally.mean for w, tally in zip(finals, tallies, strict=True)) / sum(finals)
    # One point alone has nothing to be drawn to.
    return (1.0, centre) if len(tallies) == 1 else (spread, centre)
