"""Multivariate tree-structured Parzen estimator (MIPRO §4.3; Bergstra et al. 2011; Watanabe 2023, arXiv 2304.11127).

The trials are split into the good ones and the rest. Each half becomes a density over the space: a mixture with one
kernel per trial, a product over the variables, and a wide prior kernel. Of 24 points drawn from the good density, the
one with the highest ratio of the two densities is asked next. Its choices are those of Optuna's ``TPESampler`` with
``multivariate=True`` and ``constant_liar=True``, given the same seed: a test compares them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

from luthier.search.random import uniform_point
from luthier.search.space import Point, Space, Variable
from luthier.search.standing import adjusted_means
from luthier.search.trial import Ask, Purpose, Trial, in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

STARTUP = 10
"""Random trials before the surrogate guides (Optuna's default, which the paper used)."""
DRAWN = 24
"""Points drawn from the good density, of which one is asked."""
_TRIES = 4
"""Attempts to draw a point that is not closed before a uniform one takes its place."""


def startup_trials(trials: int) -> int:
    """Return how many of ``trials`` should be random before the surrogate guides."""
    return max(1, min(STARTUP, trials // 3))


@dataclass(frozen=True, slots=True)
class TPE:
    """Multivariate TPE.

    Attributes:
        startup: random trials before the surrogate guides; None: ten.
        adjust: take the examples' difficulty out of the trial means that the surrogate sees.
        explore_only: show it minibatch trials only, as the paper did.
    """

    startup: int | None = None
    adjust: bool = True
    explore_only: bool = False

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return the point of highest expected improvement among 24 draws; while starting up, a uniform one."""
        taken = {*closed, *(ask.point for ask in pending)}
        trials = in_order(history)
        told = [trial for trial in trials if not self.explore_only or trial.ask.purpose is Purpose.EXPLORE]
        startup = max(1, STARTUP if self.startup is None else self.startup)
        if space.free and sum(not trial.prior for trial in told) >= startup:
            means = adjusted_means(told) if self.adjust else [trial.mean for trial in told]
            good, rest = _split([trial.ask.point for trial in told], means)
            # A pending point counts among the rest, so that the next ask keeps away from it.
            densities = _density(space, good), _density(space, [*rest, *(ask.point for ask in pending)])
            for _ in range(_TRIES):
                point = _best_of_drawn(space, *densities, rng.getrandbits(32))
                if point not in taken:
                    return point
        return uniform_point(space, taken, rng)


def _split(points: Sequence[Point], means: Sequence[float]) -> tuple[list[Point], list[Point]]:
    """Return the best tenth of the points, 25 at most, and the rest, both in order of trials."""
    n_good = min(math.ceil(0.1 * len(points)), 25)
    good = set(sorted(range(len(points)), key=lambda i: -means[i])[:n_good])
    return [points[i] for i in sorted(good)], [point for i, point in enumerate(points) if i not in good]


def _best_of_drawn(space: Space, good: _Density, rest: _Density, seed: int) -> Point:
    import numpy as np

    drawn = good.draw(np.random.RandomState(seed), DRAWN)
    best = drawn[np.argmax(good.log(drawn) - rest.log(drawn))]
    level = {variable.name: int(best[i]) for i, variable in enumerate(space.free)}
    return Point({variable.name: variable.levels[level.get(variable.name, 0)] for variable in space.variables})


def _density(space: Space, points: Sequence[Point]) -> _Density:
    """Return the density of some points, in order of trials, and the prior."""
    import numpy as np

    index = {variable.name: {level: i for i, level in enumerate(variable.levels)} for variable in space.free}
    # A variable or level that arrived or left since is missing in a point, which then says nothing about the space.
    kept = [point for point in points if all(point.get(name) in levels for name, levels in index.items())]
    weights = np.append(_weights(len(kept)), 1.0)
    kernels: list[_Categorical | _Ordinal] = []
    for variable in space.free:
        levels = np.array([index[variable.name][point[variable.name]] for point in kept], dtype=np.int64)
        make = _ordinal if variable.kind == "ordinal" else _categorical
        kernels.append(make(variable, levels))
    return _Density(weights / weights.sum(), kernels)


def _weights(n: int) -> Floats:
    """Return the weights of ``n`` trials in order: flat to 25 trials, then older ones fade."""
    import numpy as np

    return np.ones(n) if n < 25 else np.concatenate([np.linspace(1.0 / n, 1.0, num=n - 25), np.ones(25)])


@dataclass(frozen=True, slots=True)
class _Density:
    """A mixture of products: a kernel for each trial, the prior's last."""

    weights: Floats
    kernels: Sequence[_Categorical | _Ordinal]
    """By variable."""

    def draw(self, rng: np.random.RandomState, n: int) -> Ints:
        """Draw ``n`` points, as indices of levels."""
        import numpy as np

        chosen = rng.choice(len(self.weights), p=self.weights, size=n)
        points = np.empty((n, len(self.kernels)), dtype=np.int64)
        # Categorical variables first: the order of draws is part of a study's identity.
        for kind in (_Categorical, _Ordinal):
            for i, kernel in enumerate(self.kernels):
                if isinstance(kernel, kind):
                    points[:, i] = kernel.draw(chosen, rng.uniform(size=n))
        return points

    def log(self, points: Ints) -> Floats:
        """Return the logarithm of the density at some points."""
        import numpy as np

        with np.errstate(divide="ignore"):  # a kernel may be so far away that its mass is 0
            logs = np.log(self.weights) + sum(
                np.log(kernel.mass(points[:, i])) for i, kernel in enumerate(self.kernels)
            )
        most = logs.max(axis=1)
        total: Floats = np.log(np.exp(logs - most[:, None]).sum(axis=1)) + most
        return total


@dataclass(frozen=True, slots=True)
class _Categorical:
    """Kernels on the levels of a categorical variable."""

    probabilities: Floats
    """By kernel, then by level."""

    def draw(self, kernels: Ints, quantiles: Floats) -> Ints:
        below = self.probabilities[kernels].cumsum(axis=1)
        below[:, -1] = 1.0
        levels: Ints = (below < quantiles[:, None]).sum(axis=1)
        return levels

    def mass(self, levels: Ints) -> Floats:
        mass: Floats = self.probabilities[:, levels].T
        return mass


def _categorical(variable: Variable, levels: Ints) -> _Categorical:
    import numpy as np

    n = len(levels) + 1
    kernels = np.full((n, len(variable.levels)), 1.0 / n)
    kernels[np.arange(n - 1), levels] += 1.0
    return _Categorical(kernels / kernels.sum(axis=1, keepdims=True))


@dataclass(frozen=True, slots=True)
class _Ordinal:
    """Normal kernels on the numbers of an ordinal variable's levels, cut off half a level beyond the ends."""

    centres: Sequence[float]
    widths: Sequence[float]
    n: int

    def draw(self, kernels: Ints, quantiles: Floats) -> Ints:
        import numpy as np

        found = [self._draw(self.centres[k], self.widths[k], q) for k, q in zip(kernels, quantiles, strict=True)]
        levels: Ints = np.clip(np.round(found), 0, self.n - 1).astype(np.int64)
        return levels

    def _draw(self, centre: float, width: float, quantile: float) -> float:
        low, high = (_below((edge - centre) / width) for edge in (-0.5, self.n - 0.5))
        share = low + quantile * (high - low)
        return centre + width * NormalDist().inv_cdf(min(max(share, 1e-300), 1 - 1e-16))

    def mass(self, levels: Ints) -> Floats:
        import numpy as np

        by_level = np.array(
            [[self._mass(centre, width, level) for level in range(self.n)] for centre, width in self._kernels]
        )
        mass: Floats = by_level[:, levels].T
        return mass

    @property
    def _kernels(self) -> list[tuple[float, float]]:
        return list(zip(self.centres, self.widths, strict=True))

    def _mass(self, centre: float, width: float, level: int) -> float:
        whole = _between((-0.5 - centre) / width, (self.n - 0.5 - centre) / width)
        return _between((level - 0.5 - centre) / width, (level + 0.5 - centre) / width) / whole


def _ordinal(variable: Variable, levels: Ints) -> _Ordinal:
    """A kernel is as wide as the larger gap to its neighbours, within limits; the prior's is as wide as all levels."""
    n = len(variable.levels)
    low, high, least = -0.5, n - 0.5, n / min(100.0, 2.0 + len(levels))
    order = sorted(range(len(levels)), key=lambda i: int(levels[i]))
    edges = [low, *(float(levels[i]) for i in order), high]
    gaps = [after - before for before, after in pairwise(edges)]
    wide = [max(before, after) for before, after in pairwise(gaps)]
    if len(levels) >= 2:  # the outermost look inwards alone
        wide[0], wide[-1] = gaps[1], gaps[-2]
    widths = [0.0] * len(levels)
    for place, i in enumerate(order):
        widths[i] = min(max(wide[place], least), float(n))
    return _Ordinal([*map(float, levels), (low + high) / 2], [*widths, float(n)], n)


def _below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2.0))


def _between(low: float, high: float) -> float:
    """Return the standard normal's mass, taken on the side where little of it is lost to rounding."""
    return _below(high) - _below(low) if low < 0 else _below(-low) - _below(-high)
