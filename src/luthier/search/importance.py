"""How much each variable mattered in a search: main effects' shares of what candidates differ by (fANOVA, order one).

After Hutter et al. 2014, but on a linear model of the levels in place of a forest: a study's variables are categorical
and its trials few. Shares and their intervals are the model's posterior, drawn by Gibbs sampling, each variable with a
variance of its own and one more for what levels do not explain (Gelman 2005, ANOVA as a hierarchical model); whether a
variable mattered at all is tested by shuffling.
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

SHUFFLES, DRAWS, BURN_IN = 199, 400, 100
LEAST_TRIALS = 10
_RIDGE = 16.0
"""Observations of an average level: so much is an effect drawn towards zero where shuffles are compared."""
_SMALL, _REST, _TRUST = 0.05, 0.006, 0.3
"""What effects, and what they leave unexplained, are thought to be before anything was seen, in standard deviations of
one outcome, and how many observations that thought is worth. Chosen by the coverage of the intervals in simulated
searches (``tests/search/test_importance.py``)."""


@dataclass(frozen=True, slots=True)
class Importance:
    """One variable's share of the variance between candidates."""

    share: float
    """0 to 1, the posterior mean."""
    low: float
    high: float
    """90 % of the posterior: wide where trials are few."""
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
    shuffles = np.column_stack([values, *(values[rng.permutation(len(told))] for _ in range(SHUFFLES))])
    effects = design.effects(shuffles, weights)
    found, *shuffled = design.variances(effects.T)
    variances, rest = design.posterior(values, weights, max(_within(told), 1e-9), rng)
    shares = variances / (variances.sum(axis=1) + rest)[:, None]
    low, high = np.quantile(shares, [0.05, 0.95], axis=0)
    made = {
        name: Importance(
            share=float(shares[:, i].mean()),
            low=float(low[i]),
            high=float(high[i]),
            spread=float(np.sqrt(np.median(variances[:, i]))),
            best=design.levels[i][int(np.argmax(effects[design.of_variable[i], 0]))],
            p=(1 + sum(bool(one[i] >= found[i]) for one in shuffled)) / (1 + SHUFFLES),
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


def _within(trials: Sequence[Trial]) -> float:
    """Return the variance of one outcome within a trial: what drawing other examples would change."""
    squares = sum((o.value - trial.mean) ** 2 for trial in trials for o in trial.observations)
    return float(squares / max(1, sum(len(trial.observations) - 1 for trial in trials)))


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

    def variances(self, effects: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return for each row of effects the variance of each variable's over its levels, each level counting alike."""
        import numpy as np

        return np.column_stack([np.var(effects[:, part], axis=1) for part in self.of_variable])

    def posterior(
        self, values: NDArray[np.float64], weights: NDArray[np.float64], within: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return draws of each variable's variance between its levels, and of the variance that levels leave over.

        Args:
            values: each trial's mean.
            weights: how many outcomes it is the mean of.
            within: the variance of one outcome.
            rng: draws.
        """
        import numpy as np

        columns = np.hstack([np.ones((len(values), 1)), self.ones])
        parts = [slice(part.start + 1, part.stop + 1) for part in self.of_variable]
        small, left = _SMALL**2 * within, _REST**2 * within
        spreads, rest, own = np.full(len(parts), small), left, np.zeros(len(values))
        information = weights / within
        known = columns.T @ (columns * information[:, None])
        sizes = [part.stop - part.start for part in parts]
        diagonal = np.diag_indices_from(known)
        drawn, rests = [], []
        for draw in range(BURN_IN + DRAWS):
            precision = known.copy()
            precision[diagonal] += np.concatenate([[1e-9], np.repeat(1 / spreads, sizes)])
            unroot = np.linalg.inv(np.linalg.cholesky(precision))
            seen = unroot @ (columns.T @ (information * (values - own)))
            effects = unroot.T @ (seen + rng.standard_normal(len(seen)))
            shrunk = 1 / (information + 1 / rest)
            own = shrunk * information * (values - columns @ effects) + np.sqrt(shrunk) * rng.standard_normal(len(own))
            for i, part in enumerate(parts):
                square = float(effects[part] @ effects[part])
                spreads[i] = (_TRUST * small + square) / rng.chisquare(_TRUST + sizes[i])
            rest = (_TRUST * left + float(own @ own)) / rng.chisquare(_TRUST + len(own))
            if draw >= BURN_IN:
                drawn.append(effects[1:])
                rests.append(rest)
        return self.variances(np.array(drawn)), np.array(rests)

    def effects(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the effect of every level in each column of values, drawn towards zero by how little it was seen."""
        import numpy as np

        mean = weights @ values / weights.sum()
        weighted = self.ones * weights[:, None]
        precision = self.ones.T @ weighted + _RIDGE * np.eye(self.ones.shape[1])
        return np.asarray(np.linalg.solve(precision, weighted.T @ (values - mean)), dtype=np.float64)


def to_json(found: Mapping[str, Importance]) -> dict[str, dict[str, Any]]:
    """Return importances as JSON, in their order."""
    return {name: importance.to_json() for name, importance in found.items()}
