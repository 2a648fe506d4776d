"""Multivariate tree-structured Parzen estimator: optuna's sampler behind a pure ``suggest``.

The only file that imports optuna, and only when it is asked for a point. Every setting is
pinned, because optuna's defaults differ from version to version. The sampler is handed a
read-only view of our trials in place of an optuna study: rebuilding a real one for every ask
takes a second at a thousand trials, keeping one would be state, and its values change anyway
(they are adjusted for the difficulty of the examples seen so far).
"""

from __future__ import annotations

import importlib
import math
import random
import sys
import threading
import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from luthier.search.random import uniform_point
from luthier.search.space import Point, Space
from luthier.search.standing import adjusted_means
from luthier.search.trial import Ask, Purpose, Trial, in_order

if TYPE_CHECKING:
    import numpy as np
    import optuna
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

STARTUP = 10
"""Random trials before the surrogate guides (optuna's own default, which the paper used)."""
_DRAWS = 4
"""How often a closed point is drawn again before a uniform one takes its place."""


def startup_trials(trials: int) -> int:
    """Return how many of ``trials`` should be random before the surrogate guides."""
    return max(1, min(STARTUP, trials // 3))


@dataclass(frozen=True, slots=True)
class TPE:
    """Optuna's multivariate TPE (MIPRO §4.3).

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
            view = _view(space, told, means, [ask.point for ask in pending])
            for _ in range(_DRAWS):
                point = _sample(space, view, rng.getrandbits(32))
                if point not in taken:
                    return point
        return uniform_point(space, taken, rng)


@dataclass(frozen=True)
class _View:
    """What `TPESampler.sample_relative` reads of an optuna study."""

    trials: list[FrozenTrial]
    distributions: dict[str, BaseDistribution]
    direction: Any
    directions: list[Any]

    def _get_trials(
        self, deepcopy: bool, states: Collection[TrialState] | None = None, use_cache: bool = False
    ) -> list[FrozenTrial]:
        return [trial for trial in self.trials if states is None or trial.state in states]

    def _is_multi_objective(self) -> bool:
        return False

    @property
    def _storage(self) -> _View:
        return self

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """Take a note meant for optuna's other processes, and drop it."""


def _load_optuna() -> None:
    """Import optuna where no frame of ours can be seen.

    It keeps the errors of optional imports, which keep every frame below: the first study would never be freed.
    """
    if "optuna" not in sys.modules:
        thread = threading.Thread(target=importlib.import_module, args=("optuna",), daemon=True)
        thread.start()
        thread.join()


def _view(space: Space, told: list[Trial], means: list[float], pending: list[Point]) -> _View:
    _load_optuna()
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    distributions: dict[str, BaseDistribution] = {
        variable.name: IntDistribution(0, len(variable.levels) - 1)
        if variable.kind == "ordinal"
        else CategoricalDistribution(tuple(range(len(variable.levels))))
        for variable in space.free
    }
    index = {variable.name: {level: i for i, level in enumerate(variable.levels)} for variable in space.free}
    frozen = [
        _frozen(number, TrialState.COMPLETE, _indices(index, trial.ask.point), mean, distributions)
        for number, (trial, mean) in enumerate(zip(told, means, strict=True))
    ]
    frozen += [
        _frozen(number, TrialState.RUNNING, _indices(index, point), None, distributions)
        for number, point in enumerate(pending, start=len(frozen))
    ]
    return _View(frozen, distributions, StudyDirection.MAXIMIZE, [StudyDirection.MAXIMIZE])


def _indices(index: Mapping[str, Mapping[str, int]], point: Point) -> dict[str, int]:
    # A variable that arrived after the trial is missing here, and optuna passes over the trial.
    return {name: levels[point[name]] for name, levels in index.items() if point.get(name) in levels}


def _frozen(
    number: int,
    state: TrialState,
    params: dict[str, int],
    value: float | None,
    distributions: dict[str, BaseDistribution],
) -> FrozenTrial:
    from optuna.trial import FrozenTrial

    return FrozenTrial(
        number=number,
        state=state,
        value=value,
        datetime_start=None,
        datetime_complete=None,
        params=params,
        distributions=distributions,
        user_attrs={},
        system_attrs={},
        intermediate_values={},
        trial_id=number,
    )


def _sample(space: Space, view: _View, seed: int) -> Point:
    from optuna.trial import TrialState

    current = _frozen(len(view.trials), TrialState.RUNNING, {}, None, view.distributions)
    chosen = _sampler(seed).sample_relative(cast("optuna.Study", view), current, view.distributions)
    return Point({v.name: v.levels[int(chosen.get(v.name, 0))] for v in space.variables})


def _sampler(seed: int) -> optuna.samplers.TPESampler:
    from optuna.samplers import TPESampler

    with warnings.catch_warnings():
        # Pinning what one version calls experimental and another deprecated is the point here.
        warnings.simplefilter("ignore")
        return TPESampler(
            prior_weight=1.0,
            consider_magic_clip=True,
            consider_endpoints=False,
            n_startup_trials=0,
            n_ei_candidates=24,
            gamma=_gamma,
            weights=_weights,
            seed=seed,
            multivariate=True,
            group=False,
            warn_independent_sampling=False,
            constant_liar=True,
            constraints_func=None,
        )


def _gamma(n: int) -> int:
    """Return how many of ``n`` trials count as good."""
    return min(math.ceil(0.1 * n), 25)


def _weights(n: int) -> NDArray[np.float64]:
    """Return the weights of ``n`` trials in order: flat to 25 trials, then older ones fade."""
    import numpy as np

    if n < 25:
        return np.ones(n)
    return np.concatenate([np.linspace(1.0 / n, 1.0, num=n - 25), np.ones(25)])
