"""The strategies compared on tables: those that optimizers use, and baselines that only serve as such.

Every one gets the same evaluations, closing ones included; the original's evaluation is everybody's and not counted.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.replay.replay import Problem
from luthier.search.halving import SuccessiveHalving
from luthier.search.random import RandomSearch, uniform_point
from luthier.search.schedule import (
    MIN_TRIALS,
    FullSchedule,
    MinibatchSchedule,
    best_partial,
    minibatch_size,
    trials_for,
)
from luthier.search.space import Point, Space, Variable
from luthier.search.standing import adjusted_means, fully_evaluated, seen_examples
from luthier.search.tpe import TPE, startup_trials
from luthier.search.trial import Ask, Purpose, Strategy, Suggest, Trial, in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLOSING = 3

Make = Callable[[Problem, int], Strategy]
"""From a problem and the evaluations to spend to a strategy."""


def minibatch(suggest: Callable[[int], Suggest], size: int, *, credit: bool = True) -> Make:
    """Return our schedule: minibatch trials, then ``CLOSING`` full evaluations; ``suggest`` is told the trials."""

    def make(problem: Problem, evaluations: int) -> Strategy:
        trials = max(1, (evaluations - CLOSING * len(problem.examples)) // size)
        blocks = problem.blocks(size)
        return MinibatchSchedule(suggest(trials), problem.examples, blocks, trials, closing=CLOSING, credit=credit)

    return make


def random_full(problem: Problem, evaluations: int) -> Strategy:
    """Return random search, every point in full."""
    return FullSchedule(RandomSearch(), problem.examples, max(1, evaluations // len(problem.examples)))


def paper(problem: Problem, evaluations: int) -> Strategy:
    """Return MIPRO's own schedule: plain TPE, B = 25 or less, a full evaluation every ten trials, from the first."""
    n = len(problem.examples)
    size, every = min(25, n), 10
    trials = max(1, evaluations * every // (size * every + n))
    suggest = TPE(startup=10, adjust=False, explore_only=True)
    return MinibatchSchedule(suggest, problem.examples, problem.blocks(size), trials, full_every=every, first_full=True)


def ours(problem: Problem, evaluations: int) -> Strategy:
    """Return what ``mipro`` does: a schedule cut to the budget, and first each demo set for all predictors at once."""
    n, variables = len(problem.examples), len(problem.space.free)
    closing = min(CLOSING, max(1, evaluations // (2 * n)))
    size = minibatch_size(evaluations, n, variables, closing)
    trials = max(1, trials_for(evaluations, n, size, closing))
    if trials < MIN_TRIALS:
        return halving(problem, evaluations)
    startup = startup_trials(trials)
    demos = [variable for variable in problem.space.variables if variable.name.endswith("demos")]
    most = max((len(variable.levels) for variable in demos), default=1)
    anchors = [
        Point({**problem.space.original, **{v.name: v.levels[min(level, len(v.levels) - 1)] for v in demos}})
        for level in range(most - 1, 0, -1)
    ]
    return MinibatchSchedule(
        TPE(startup=startup),
        problem.examples,
        problem.blocks(size),
        trials,
        closing=closing,
        anchors=tuple(anchors[:startup]),
    )


def halving(problem: Problem, evaluations: int) -> Strategy:
    """Return successive halving on common, growing sets of examples."""
    return SuccessiveHalving(
        RandomSearch(),
        examples=problem.examples,
        blocks=problem.blocks(6),
        budget=evaluations - CLOSING * len(problem.examples),
        closing=CLOSING,
    )


def labelled(problem: Problem, evaluations: int) -> Strategy:
    """Return labelled few-shot: the last demo set of every variable that has demos, scored once."""
    chosen = {
        variable.name: variable.levels[-1] if variable.name.endswith("demos") else variable.levels[0]
        for variable in problem.space.variables
    }
    return _One(Point(chosen), problem.examples)


def race(problem: Problem, evaluations: int) -> Strategy:
    """Return an F-race: random points see block after block, those significantly behind fall out."""
    budget = evaluations - CLOSING * len(problem.examples)
    return Race(problem.space, problem.examples, problem.blocks(6), budget, problem.seed)


STRATEGIES: Mapping[str, Make] = {
    "labelled few-shot": labelled,
    "random, full": random_full,
    "random, minibatch 10": minibatch(lambda trials: RandomSearch(), 10, credit=False),
    "successive halving": halving,
    "F-race": race,
    "TPE, the paper's schedule": paper,
    "TPE, as mipro runs it": ours,
    "TPE, minibatch 5": minibatch(lambda trials: TPE(startup=startup_trials(trials)), 5),
    "TPE, minibatch 10": minibatch(lambda trials: TPE(startup=startup_trials(trials)), 10),
    "TPE, minibatch 25": minibatch(lambda trials: TPE(startup=startup_trials(trials)), 25),
    "linear Thompson, minibatch 10": minibatch(lambda trials: LinearThompson(), 10),
    "Gaussian process, minibatch 10": minibatch(lambda trials: GaussianProcess(), 10),
}
"""By the name they have in tables and plots."""
ABOUT: Mapping[str, str] = {
    "labelled few-shot": "The last demo set of every predictor, scored once: what a search has to beat.",
    "random, full": "Points drawn uniformly, each scored on all of val.",
    "random, minibatch 10": "Points drawn uniformly, scored on 10 examples; the 3 best in full. The reference.",
    "successive halving": "Many points on few examples; the best third goes on with three times as many.",
    "F-race": "Points see block after block of examples; those behind the best by paired t-tests fall out.",
    "TPE, the paper's schedule": "MIPRO's own: plain TPE, minibatches of 25, a full evaluation every ten trials.",
    "TPE, as mipro runs it": "Ours: trials and minibatches cut to the budget, demo sets for all predictors first.",
    "TPE, minibatch 5": "TPE on minibatches of 5, the 3 best in full.",
    "TPE, minibatch 10": "TPE on minibatches of 10, the 3 best in full.",
    "TPE, minibatch 25": "TPE on minibatches of 25, the 3 best in full.",
    "linear Thompson, minibatch 10": "Thompson sampling on a linear model of trial means, one effect per level.",
    "Gaussian process, minibatch 10": "Expected improvement under a Gaussian process with a Hamming kernel.",
}
"""What they do, in a sentence."""


@dataclass(frozen=True, slots=True)
class LinearThompson:
    """Thompson sampling on a linear model of trial means: one effect per level (Agrawal & Goyal 2013).

    Attributes:
        noise: standard deviation of one example's score.
        prior: standard deviation of a level's effect.
        startup: random trials first.
    """

    noise: float = 0.5
    prior: float = 0.15
    startup: int = 4

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return the best point under one draw of the effects that is open."""
        import numpy as np

        taken = {*closed, *(ask.point for ask in pending)}
        trials = in_order(history)
        if sum(not trial.prior for trial in trials) < self.startup:
            return uniform_point(space, taken, rng)
        columns = {(v.name, level): i for i, (v, level) in enumerate((v, x) for v in space.variables for x in v.levels)}
        x = np.zeros((len(trials), len(columns)))
        for row, trial in enumerate(trials):
            x[row, [columns[item] for item in trial.ask.point.items()]] = 1.0
        means = np.array(adjusted_means(trials))
        weights = np.array([len(trial.observations) for trial in trials]) / self.noise**2
        center = float((weights * means).sum() / weights.sum())
        precision = x.T @ (weights[:, None] * x) + np.eye(len(columns)) / self.prior**2
        covariance = np.linalg.inv(precision)
        mean = covariance @ (x.T @ (weights * (means - center)))
        draws = np.random.default_rng(rng.getrandbits(64))
        for _ in range(20):
            effects = draws.multivariate_normal(mean, covariance, method="cholesky")
            point = Point({v.name: _best_level(v, effects, columns) for v in space.variables})
            if point not in taken:
                return point
        return uniform_point(space, taken, rng)


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A Gaussian process on points with a Hamming kernel, by expected improvement.

    Attributes:
        noise: standard deviation of one example's score.
        scale: standard deviation of points' qualities.
        candidates: random open points that the next is chosen from.
        startup: random trials first.
    """

    noise: float = 0.5
    scale: float = 0.12
    candidates: int = 256
    startup: int = 6

    def suggest(
        self,
        space: Space,
        history: Sequence[Trial],
        pending: Sequence[Ask],
        rng: random.Random,
        closed: Collection[Point] = frozenset(),
    ) -> Point | None:
        """Return the open point with the greatest expected improvement."""
        import numpy as np

        taken = {*closed, *(ask.point for ask in pending)}
        trials = in_order(history)
        if sum(not trial.prior for trial in trials) < self.startup:
            return uniform_point(space, taken, rng)
        some: dict[Point, None] = {}
        for _ in range(self.candidates):
            point = uniform_point(space, taken, rng)
            if point is None:
                return None
            some[point] = None
        open_points = list(some)
        known = [trial.ask.point for trial in trials]
        means = np.array(adjusted_means(trials))
        center = float(means.mean())
        noise = np.diag([self.noise**2 / len(trial.observations) for trial in trials])
        across = self._kernel(open_points, known)
        inverse = np.linalg.inv(self._kernel(known, known) + noise)
        mean = across @ inverse @ (means - center)
        deviation = np.sqrt(np.maximum(self.scale**2 - np.einsum("ij,jk,ik->i", across, inverse, across), 1e-12))
        best = float((self._kernel(known, known) @ inverse @ (means - center)).max())
        z = (mean - best) / deviation
        improvement = deviation * (z * _cdf(z) + np.exp(-z * z / 2) / math.sqrt(2 * math.pi))
        return open_points[int(improvement.argmax())]

    def _kernel(self, a: Sequence[Point], b: Sequence[Point]) -> NDArray[np.float64]:
        import numpy as np

        equal = np.zeros((len(a), len(b)))
        for name in a[0]:
            levels = {level: i for i, level in enumerate(sorted({point[name] for point in (*a, *b)}))}
            mine, theirs = (np.array([levels[point[name]] for point in points]) for points in (a, b))
            equal += mine[:, None] == theirs[None, :]
        kernel: NDArray[np.float64] = self.scale**2 * np.exp(equal - len(a[0]))
        return kernel


@dataclass(frozen=True, slots=True)
class Race:
    """An F-race (Birattari et al. 2002) with paired t-tests in place of Friedman's: those behind the best fall out."""

    space: Space
    """Its field is drawn from this, once; what arrives later has missed the start."""
    examples: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    budget: int
    seed: int
    behind: float = 1.7
    """So many standard errors behind the best, on the examples both saw, a point falls out."""
    first_blocks: int = 2
    """Blocks that every point sees."""

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        """Return the next block for whoever has seen fewest, else a closing full evaluation."""
        own = [trial for trial in in_order(history) if not trial.prior]
        racing = [trial for trial in own if trial.ask.purpose is not Purpose.FULL]
        spent = sum(len(trial.ask.examples) for trial in racing)
        if spent + len(self.blocks[0]) <= self.budget:
            seen = seen_examples(racing)
            alive = self._alive(self._field(), racing)
            behindhand = [point for point in alive if len(seen.get(point, ())) < len(self.examples)]
            if len(alive) > CLOSING and behindhand:
                point = min(behindhand, key=lambda point: len(seen.get(point, ())))
                unseen = [e for block in self.blocks for e in block if e not in seen.get(point, ())]
                return Ask(point, tuple(dict.fromkeys(unseen))[: len(self.blocks[0])], Purpose.RACE)
        if len(own) - len(racing) >= CLOSING:
            return None
        best = best_partial(history, pending, shrunken=False)
        if best is None:  # a field of no more than the closing's size needs no race
            done = fully_evaluated(history, pending)
            best = next((point for point in self._field() if point not in done), None)
        return None if best is None else Ask(best, self.examples, Purpose.FULL)

    def _field(self) -> list[Point]:
        rng = random.Random(f"{self.seed}/field")
        wanted = max(CLOSING + 1, self.budget // (3 * len(self.blocks[0])))
        field: dict[Point, None] = {}
        while len(field) < min(wanted, self.space.size):
            point = uniform_point(self.space, field.keys(), rng)
            if point is None:
                break
            field[point] = None
        return list(field)

    def _alive(self, field: Sequence[Point], racing: Sequence[Trial]) -> list[Point]:
        """Return who is still in the race: whoever was behind after a block that all had seen is out for good."""
        values: dict[Point, dict[str, float]] = {point: {} for point in field}
        least, alive, level = self.first_blocks * len(self.blocks[0]), list(field), Counter[int]()
        for trial in racing:
            mine = values[trial.ask.point]
            level[len(mine)] -= 1
            mine.update({o.example: o.value for o in trial.observations})
            level[len(mine)] += 1
            if level[len(mine)] < len(alive) or len(mine) < least:
                continue  # some have yet to see the block
            best = max(alive, key=lambda point: sum(values[point].values()))
            alive = [point for point in alive if point == best or not self._is_behind(values[point], values[best])]
            level = Counter({len(mine): len(alive)})
        return alive

    def _is_behind(self, mine: Mapping[str, float], best: Mapping[str, float]) -> bool:
        differences = [best[example] - value for example, value in mine.items() if example in best]
        n = len(differences)
        mean = sum(differences) / n
        variance = sum((d - mean) ** 2 for d in differences) / max(1, n - 1)
        return mean > self.behind * math.sqrt(max(variance, 0.05) / n)


@dataclass(frozen=True, slots=True)
class _One:
    """Scores one point and ends."""

    point: Point
    examples: tuple[str, ...]

    def ask(self, space: Space, history: Sequence[Trial], pending: Sequence[Ask], rng: random.Random) -> Ask | None:
        done = self.point in fully_evaluated(history, pending)
        return None if done else Ask(self.point, self.examples, Purpose.FULL)


def _best_level(variable: Variable, effects: NDArray[np.float64], columns: Mapping[tuple[str, str], int]) -> str:
    return max(variable.levels, key=lambda level: float(effects[columns[variable.name, level]]))


def _cdf(z: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([0.5 * math.erfc(-value / math.sqrt(2)) for value in z])
