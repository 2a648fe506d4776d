"""Tables whose truth is known, made to order: how much of the variance is due to what, as recorded tables show it.

The original scores .45 and the best point .70 in every one, so that strategies can be compared between them.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

from benchmarks.replay.table import GRADED, OutcomeTable
from luthier.errors import ConfigError
from luthier.search.space import Point, Space, Variable

ORIGINAL, BEST = 0.45, 0.70
CLASSES = 3
CLASS_SPREAD, EXAMPLE_SPREAD, CROSSED_SPREAD = 2.1, 1.1, 3.2
"""Standard deviations on the logistic scale, set so that the shares of variance due to class, example, and candidate x
class are those of the recorded table ``iris-two-stage`` (17, 7, and 26 %; a test holds them near)."""
LATE = 12
"""The trial from which on the later half of the levels can be chosen, on tables where they arrive late."""

UNREADABLE = -math.inf
"""The utility of points none of whose answers can be read."""

Utility = Callable[[Point], float]


def synthetic(kind: str, seed: int, *, variables: int = 4, levels: int = 4, examples: int = 100) -> OutcomeTable:
    """Return a table of that kind.

    Args:
        kind: one of ``KINDS``.
        seed: another seed, another table.
        variables: how many.
        levels: of each.
        examples: how many, in three classes.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"no synthetic table is called {kind!r}; there are {', '.join(KINDS)}")
    rng = random.Random(f"{kind}/{seed}")
    space = _space(variables, levels)
    names = tuple(f"e{i}" for i in range(examples))
    classes = {name: f"c{i % CLASSES}" for i, name in enumerate(names)}
    blank = OutcomeTable(kind, space, (), {}, ("",) * space.size)
    drawn = _drawn(KINDS[kind], space, blank.points, rng)
    wanted = _means(drawn, space.original)
    chances = _chances(wanted, space, examples, rng, crossed=2.0 if kind == "class-structured" else 1.0)
    rows: dict[Point, str] = {}
    for point in blank.points:
        same = _first_of_twins(point, space) if kind == "duplicates" else point
        if same not in rows:
            scored = (_graded(p, rng) if kind == "graded" else _passed(p, rng) for p in chances[same])
            rows[same] = "u" * examples if drawn[same] == UNREADABLE else "".join(scored)
        rows[point] = rows[same]
    late = {v.name: dict.fromkeys(v.levels[-(levels // 2) :], LATE) for v in space.variables}
    return OutcomeTable(
        f"{kind}-{seed}",
        space,
        names,
        classes,
        tuple(rows[point] for point in blank.points),
        {"synthetic": kind, "seed": seed},
        late if kind == "late-levels" else {},
    )


def _chances(
    wanted: Mapping[Point, float], space: Space, examples: int, rng: random.Random, *, crossed: float
) -> dict[Point, list[float]]:
    """Return each point's chance of being right on each example, in the mean what is ``wanted`` of the point.

    On the logistic scale: what a class, an example, and a level in a class bring, spread as in the recorded table.
    """
    import numpy as np

    of_class = [rng.gauss(0.0, CLASS_SPREAD) for _ in range(CLASSES)]
    easy = np.array([of_class[i % CLASSES] + rng.gauss(0.0, EXAMPLE_SPREAD) for i in range(examples)])
    spread = crossed * CROSSED_SPREAD / math.sqrt(len(space.variables))
    in_class = {
        (v.name, level): np.array([rng.gauss(0.0, spread) for _ in range(CLASSES)])
        for v in space.variables
        for level in v.levels
    }
    column = np.arange(examples) % CLASSES
    points = list(wanted)
    own = np.array([sum(in_class[item] for item in point.items()) for point in points])[:, column] + easy
    aim = np.array([wanted[point] for point in points])
    low, high = np.full(len(points), -25.0), np.full(len(points), 25.0)
    for _ in range(50):
        middle = (low + high) / 2
        below = (1 / (1 + np.exp(-(middle[:, None] + own)))).mean(axis=1) < aim
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found = 1 / (1 + np.exp(-(low[:, None] + own)))
    return {point: row.tolist() for point, row in zip(points, found, strict=True)}


def _means(raw: Mapping[Point, float], original: Point) -> dict[Point, float]:
    """Return utilities moved and stretched so that the original's is ``ORIGINAL`` and the best ``BEST``."""
    stretch = (BEST - ORIGINAL) / (max(raw.values()) - raw[original])
    return {point: min(0.98, max(0.02, ORIGINAL + stretch * (value - raw[original]))) for point, value in raw.items()}


def _passed(chance: float, rng: random.Random) -> str:
    return "1" if rng.random() < chance else "0"


def _graded(chance: float, rng: random.Random) -> str:
    # A score between 0 and 1 whose mean is the chance, e.g. a share of facts found.
    return GRADED[sum(rng.random() < chance for _ in range(10))]


def _first_of_twins(point: Point, space: Space) -> Point:
    """Return the point that a point answers exactly like: the second half of the levels repeats the first."""
    return Point(
        {v.name: v.levels[v.levels.index(point[v.name]) % max(1, len(v.levels) // 2)] for v in space.variables}
    )


def _additive(space: Space, rng: random.Random) -> Utility:
    effects = {(v.name, level): rng.gauss(0, 1) for v in space.variables for level in v.levels}
    return lambda point: sum(effects[item] for item in point.items())


def _pairs(space: Space, rng: random.Random) -> Utility:
    alone = _additive(space, rng)
    effects = {
        (a.name, la, b.name, lb): rng.gauss(0, 1)
        for a, b in combinations(sorted(space.variables, key=lambda variable: variable.name), 2)
        for la in a.levels
        for lb in b.levels
    }
    return lambda point: (
        0.4 * alone(point)
        + sum(effects[a, point[a], b, point[b]] for a, b in combinations(sorted(point), 2)) / math.sqrt(len(point))
    )


def _pipeline(space: Space, rng: random.Random) -> Utility:
    # Every stage must do its part: the weakest decides.
    effects = {(v.name, level): rng.gauss(0, 1) for v in space.variables for level in v.levels}
    stages = sorted({v.name.split(".")[0] for v in space.variables})
    return lambda point: min(sum(e for (n, level), e in effects.items() if n.startswith(f"{s}.") and point[n] == level)
                             for s in stages)  # fmt: skip


def _twins(space: Space, rng: random.Random) -> Utility:
    alone = _additive(space, rng)
    return lambda point: alone(_first_of_twins(point, space))


def _demos_dominate(space: Space, rng: random.Random) -> Utility:
    effects = {
        (v.name, level): rng.gauss(0, 1.0 if v.name.endswith("demos") else 0.15)
        for v in space.variables
        for level in v.levels
    }
    return lambda point: sum(effects[item] for item in point.items())


def _dead(space: Space, rng: random.Random) -> Utility:
    effects = {(v.name, level): rng.gauss(0, 1) * (i == 0) for i, v in enumerate(space.variables) for level in v.levels}
    return lambda point: sum(effects[item] for item in point.items())


def _sign_flip(space: Space, rng: random.Random) -> Utility:
    # What the first variable's level brings turns round with the second's.
    first, second, *_ = space.variables
    effects = {level: rng.gauss(0, 1) for level in first.levels}
    signs = {level: 1 if i % 2 else -1 for i, level in enumerate(second.levels)}
    rest = _additive(space, rng)
    return lambda point: effects[point[first.name]] * signs[point[second.name]] + 0.3 * rest(point)


def _cliff(space: Space, rng: random.Random) -> Utility:
    # One level in four makes all answers unreadable, whatever else.
    alone = _additive(space, rng)
    bad = {(v.name, rng.choice(v.levels[1:])) for v in space.variables}
    return lambda point: UNREADABLE if any(item in bad for item in point.items()) else alone(point)


KINDS: Mapping[str, Callable[[Space, random.Random], Utility]] = {
    "additive": _additive,
    "pairs": _pairs,
    "pipeline": _pipeline,
    "sign-flip": _sign_flip,
    "demos-dominate": _demos_dominate,
    "dead-predictors": _dead,
    "parse-cliff": _cliff,
    "class-structured": _additive,
    "graded": _additive,
    "late-levels": _additive,
    "duplicates": _twins,
}
"""What a point's quality is made of, by kind."""
ABOUT: Mapping[str, str] = {
    "additive": "Each choice brings its own.",
    "pairs": "Any two choices together bring something.",
    "pipeline": "The weakest stage decides.",
    "sign-flip": "What one choice brings turns round with another.",
    "demos-dominate": "Nearly all lies in the demos.",
    "dead-predictors": "Nearly all lies in one variable.",
    "parse-cliff": "One level of each variable makes all answers unreadable.",
    "class-structured": "Which classes of examples a point is good at differs, twice as much as elsewhere.",
    "graded": "Scores are tenths, not right or wrong.",
    "late-levels": "Half of the levels can be chosen only later, as where an optimizer proposes on the way.",
    "duplicates": "Every level has a twin that answers exactly alike.",
}
"""The same in a sentence."""


def null_table(kind: str, seed: int, *, variables: int = 4, levels: int = 4, examples: int = 100) -> OutcomeTable:
    """Return a table on which no point is truly better than another: whoever finds a gain is mistaken.

    Args:
        kind: ``ignored`` (the metric does not look at the answer: an example scores what it scores, whoever answers),
            ``identical`` (every point is the same program, asked at a temperature: draws of one chance an example),
            ``permuted`` (every point answers one of three classes by habits of its own, the labels are shuffled), or
            ``random`` (answers are coin flips).
        seed: another seed, another table.
        variables: how many.
        levels: of each.
        examples: how many.

    Raises:
        ConfigError: there is no such kind.
    """
    if kind not in NULLS:
        raise ConfigError(f"no null table is called {kind!r}; there are {', '.join(NULLS)}")
    rng = random.Random(f"null/{kind}/{seed}")
    space = _space(variables, levels)
    names = tuple(f"e{i}" for i in range(examples))
    draw = NULLS[kind](examples, rng)
    rows = tuple("".join("1" if right else "0" for right in draw()) for _ in range(space.size))
    return OutcomeTable(f"null-{kind}-{seed}", space, names, {}, rows, {"synthetic": f"null/{kind}", "seed": seed})


def _ignored(examples: int, rng: random.Random) -> Callable[[], list[bool]]:
    fixed = [rng.random() < 0.5 for _ in range(examples)]
    return lambda: fixed


def _identical(examples: int, rng: random.Random) -> Callable[[], list[bool]]:
    chances = [chance_of(0.0, rng.gauss(0.0, EXAMPLE_SPREAD), 0.0) for _ in range(examples)]
    return lambda: [rng.random() < chance for chance in chances]


def _permuted(examples: int, rng: random.Random) -> Callable[[], list[bool]]:
    # Answers are a point's own through and through, so whole blocks of examples are right or wrong together by luck.
    truth = [i % CLASSES for i in range(examples)]
    labels = rng.sample(truth, examples)

    def row() -> list[bool]:
        habits = [[rng.expovariate(1.0) for _ in range(CLASSES)] for _ in range(CLASSES)]
        answers = [rng.choices(range(CLASSES), habits[true])[0] for true in truth]
        return [answer == label for answer, label in zip(answers, labels, strict=True)]

    return row


def _random(examples: int, rng: random.Random) -> Callable[[], list[bool]]:
    return lambda: [rng.random() < 0.5 for _ in range(examples)]


NULLS: Mapping[str, Callable[[int, random.Random], Callable[[], list[bool]]]] = {
    "ignored": _ignored,
    "permuted": _permuted,
    "identical": _identical,
    "random": _random,
}
"""What draws a point's row, by kind."""


def _space(variables: int, levels: int) -> Space:
    """Return instructions and demos of predictors, so many variables in all."""
    return Space(
        tuple(
            Variable(f"p{i // 2}.{'demos' if i % 2 else 'instruction'}", tuple(f"l{j}" for j in range(levels)))
            for i in range(variables)
        )
    )


def _drawn(
    make: Callable[[Space, random.Random], Utility], space: Space, points: Sequence[Point], rng: random.Random
) -> dict[Point, float]:
    """Return utilities by point; drawn again where the original would be better than most that can be read."""
    while True:
        utility = make(space, rng)
        raw = {point: utility(point) for point in points}
        readable = [value for value in raw.values() if value > UNREADABLE]
        if sum(value > raw[space.original] for value in readable) >= len(readable) / 3:
            return raw


def quality_of(share: float, difficulty: Sequence[float]) -> float:
    """Return the quality that is right on that share of the examples."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        right = sum(chance_of(middle, d, 0.0) for d in difficulty) / len(difficulty)
        low, high = (middle, high) if right < share else (low, middle)
    return (low + high) / 2


def chance_of(quality: float, difficulty: float, of_class: float) -> float:
    """Return the chance that a point of some quality is right on an example of some difficulty."""
    return 1 / (1 + math.exp(min(700.0, difficulty - quality - of_class)))
