"""How much each variable mattered in a search: main effects' shares of what candidates differ by (fANOVA, order one).

After Hutter et al. 2014, but on a linear model of the levels in place of a forest: a study's variables are categorical
and its trials few. What noise alone would explain is measured by shuffling and taken away, which gives a test as well;
intervals come from resampling trials.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from luthier.search.standing import adjusted_means
from luthier.search.trial import Trial, in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHUFFLES, DRAWS = 199, 200
LEAST_TRIALS = 10
_RIDGE = 16.0
"""Observations of an average level: so much is an effect drawn towards zero."""


@dataclass(frozen=True, slots=True)
class Importance:
    """One variable's share of the variance between candidates."""

    share: float
    """0 to 1; what noise alone explains is taken away."""
    low: float
    high: float
    """90 % by resampling trials."""
    spread: float
    """Standard deviation between its levels, in the metric's own unit."""
    p: float
    """How often shuffled scores let it seem to matter as much."""
    best: str
    """The level that does best by itself."""

    @property
    def clear(self) -> bool:
        """Whether it mattered more than chance would have it (5 %)."""
        return self.p <= 0.05

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        numbers = {name: round(getattr(self, name), 4) for name in ("share", "low", "high", "spread", "p")}
        return {**numbers, "best": self.best}


def importances(trials: Sequence[Trial], *, seed: int = 0) -> dict[str, Importance]:
    """Return every variable's importance, the greatest first; empty where there are too few trials to tell.

    A variable most of whose levels were met once, such as an instruction proposed afresh in every trial, is left out:
    it would explain everything and nothing.

    Args:
        trials: of one search, minibatches and full evaluations; a known original counts, too.
        seed: of shuffles and resampling.
    """
    import numpy as np

    told = in_order(trials)
    names = _repeated(told)
    if len(told) < LEAST_TRIALS or not names:
        return {}
    design = _Design.of(told, names)
    values = np.array(adjusted_means(told))
    weights = np.array([float(len(trial.observations)) for trial in told])
    rng = np.random.default_rng(random.Random(f"{seed}/importance").getrandbits(64))
    shuffled = np.array([design.variances(values[rng.permutation(len(told))], weights) for _ in range(SHUFFLES)])
    noise = shuffled.mean(axis=0)
    found = design.variances(values, weights)
    draws = []
    for _ in range(DRAWS):
        rows = rng.integers(0, len(told), len(told))
        # A resample is as noisy again as the trials themselves are, so as much is taken away once more.
        draws.append(_shares(design.taken(rows).variances(values[rows], weights[rows]) - 2 * noise, values, weights))
    shares = _shares(found - noise, values, weights)
    low, high = np.quantile(np.array(draws), [0.05, 0.95], axis=0)
    made = {
        name: Importance(
            share=float(shares[i]),
            low=float(min(low[i], shares[i])),
            high=float(max(high[i], shares[i])),
            spread=float(np.sqrt(max(0.0, found[i] - noise[i]))),
            best=design.levels[i][int(np.argmax(design.effects(values, weights)[design.of_variable[i]]))],
            p=(1 + int((shuffled[:, i] >= found[i]).sum())) / (1 + SHUFFLES),
        )
        for i, name in enumerate(names)
    }
    return dict(sorted(made.items(), key=lambda item: -item[1].share))


def _repeated(trials: Sequence[Trial]) -> list[str]:
    """Return the variables on which points differ, and whose levels were mostly met more than once."""
    if not trials:
        return []
    found = []
    for name in trials[0].ask.point:
        levels = [trial.ask.point[name] for trial in trials if name in trial.ask.point]
        if 1 < len(set(levels)) <= len(levels) / 2:
            found.append(name)
    return found


def _shares(
    variances: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return variances as shares of what candidates differ by, the noise of drawing examples apart."""
    import numpy as np

    kept = np.maximum(variances, 0.0)
    mean = float((weights * values).sum() / weights.sum())
    between = float((weights * (values - mean) ** 2).sum() / weights.sum())
    noise = mean * (1 - mean) * len(values) / float(weights.sum()) if 0 < mean < 1 else 0.0
    shares: NDArray[np.float64] = kept / max(between - noise, float(kept.sum()), 1e-12)
    return shares


@dataclass(frozen=True, slots=True)
class _Design:
    """Which level each trial had of each variable, as columns of ones and zeros."""

    ones: NDArray[np.float64]
    of_variable: Sequence[slice]
    levels: Sequence[Sequence[str]]

    @staticmethod
    def of(trials: Sequence[Trial], names: Sequence[str]) -> _Design:
        import numpy as np

        columns: list[list[float]] = []
        slices, of_names = [], []
        for name in names:
            levels = list(dict.fromkeys(trial.ask.point[name] for trial in trials))
            of_names.append(levels)
            slices.append(slice(len(columns), len(columns) + len(levels)))
            columns += [[float(trial.ask.point[name] == level) for trial in trials] for level in levels]
        return _Design(np.array(columns).T, slices, of_names)

    def taken(self, rows: NDArray[np.intp]) -> _Design:
        return _Design(self.ones[rows], self.of_variable, self.levels)

    def variances(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the variance of each variable's fitted effects over its levels, each level counting alike."""
        import numpy as np

        effects = self.effects(values, weights)
        return np.array([float(np.var(effects[part])) for part in self.of_variable])

    def effects(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the effect of every level, drawn towards zero by how little it was seen."""
        import numpy as np

        mean = float((weights * values).sum() / weights.sum())
        weighted = self.ones * weights[:, None]
        precision = self.ones.T @ weighted + _RIDGE * np.eye(self.ones.shape[1])
        return np.asarray(np.linalg.solve(precision, weighted.T @ (values - mean)), dtype=np.float64)


def to_json(found: Mapping[str, Importance]) -> dict[str, dict[str, Any]]:
    """Return importances as JSON, in their order."""
    return {name: importance.to_json() for name, importance in found.items()}
