"""Statistics of comparing programs: intervals that are honest at twenty examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np

DISAGREEMENT = 0.2
"""Share of examples that two programs are assumed to score differently, where nothing is measured yet."""
_FALSE_ADOPTIONS = 0.05
"""How often, at most, any number of looks at the same test examples adopt what is no better."""
_RESAMPLES = 4000
_AT_A_TIME = 1 << 20
"""Draws in memory at one time, 8 bytes each and a few times over; the numbers are the same for any."""
_DENSE = 10
"""Resampling needs so many differences that are not zero; fewer, and most resamples look alike."""


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """Mean score after minus mean score before, on the same examples."""

    difference: float
    low: float
    high: float
    n: int
    fixed: tuple[str, ...]
    """Examples that score higher after."""
    broken: tuple[str, ...]
    """Examples that score lower after."""
    method: str
    """``tango``, ``resampling``, ``bound``, or ``none`` where fewer than two examples, or groups, say nothing."""


def standard_error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean; None below two values."""
    n = len(values)
    if n < 2:
        return None
    mean = sum(values) / n
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n)


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's score interval for a proportion (Wilson 1927); (0, 1) for ``n`` = 0."""
    if n == 0:
        return Interval(0.0, 1.0)
    z = _z(level)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == n else min(1.0, middle + half)
    return Interval(low, high)


def tango(fixed: float, broken: float, n: float, level: float = 0.95) -> Interval:
    """Return Tango's score interval for (fixed - broken) / n (Tango 1998, eq. 24-26).

    With graded scores, ``fixed`` and ``broken`` are the sums of all gains and of all losses. The interval is then too
    wide rather than too narrow: among differences in [-1, 1] with the same mean gain and loss, -1, 0, 1 vary most.

    Args:
        fixed: pairs that fail before and pass after.
        broken: pairs that pass before and fail after.
        n: all pairs, n > 0.
        level: confidence level.
    """
    z = _z(level)
    estimate = (fixed - broken) / n
    low = -1.0 if broken == n else _root(lambda d: _tango_score(fixed, broken, n, d) - z, -1.0, estimate)
    high = 1.0 if fixed == n else _root(lambda d: _tango_score(fixed, broken, n, d) + z, estimate, 1.0)
    return Interval(low, high)


def paired(
    before: Mapping[str, float],
    after: Mapping[str, float],
    *,
    level: float = 0.95,
    groups: Mapping[str, str] | None = None,
    seed: int = 0,
) -> PairedDifference:
    """Compare scores of the same examples, by id; examples that only one side has are left out.

    Where all scores are 0 or 1 and no two examples share a group, the interval is Tango's; otherwise it is from
    studentised resampling, seeded, groups resampled whole. Where too few examples differ for that, it is Tango's over
    gains and losses, for as many examples as the groups amount to: a bound.

    Args:
        before: score by example id.
        after: score by example id.
        level: confidence level.
        groups: group by example id; an example without one, or with an empty one, stands alone.
        seed: of the resampling.
    """
    ids = sorted(before.keys() & after.keys())
    differences = [after[id] - before[id] for id in ids]
    n = len(ids)
    mean = math.fsum(differences) / n if n else math.nan
    keys = [(groups or {}).get(id, "") or f"\x00{id}" for id in ids]
    clusters = len(set(keys))
    binary = all(score in (0, 1) for id in ids for score in (before[id], after[id]))
    fixed = tuple(id for id, d in zip(ids, differences, strict=True) if d > 0)
    broken = tuple(id for id, d in zip(ids, differences, strict=True) if d < 0)
    if clusters < 2:
        interval, method = Interval(-1.0, 1.0), "none"
    elif binary and clusters == n:
        interval, method = tango(len(fixed), len(broken), n, level), "tango"
    else:
        interval, method = _graded(differences, keys, level, seed)
    return PairedDifference(mean, interval.low, interval.high, n, fixed, broken, method)


def look_level(look: int) -> float:
    """Return the two-sided level of the interval at the nth look at the same test examples: 1 - 2a / (n (n + 1)).

    With a = 0.05 the first look has 95 %. A gain is adopted where its interval lies above zero, which chance alone
    brings about at the nth look with probability a / (n (n + 1)) at most; over all looks these add up to a.
    """
    return 1 - 2 * _FALSE_ADOPTIONS / (look * (look + 1))


def smallest_detectable(
    n: int, disagreement: float = DISAGREEMENT, level: float = 0.95, power: float = 0.8
) -> float | None:
    """Return the smallest true gain that ``n`` paired test examples detect with that power; None if none can be.

    Connor (1987, eq. 1) gives the examples that a gain d needs where programs differ on a share s of them::

        n = (a sqrt(s) + b sqrt(s - d^2))^2 / d^2        # a, b: normal quantiles of level and power

    which is solved for d. A gain cannot be above s, so few examples detect none: with s = 20 %, 16 points at n = 60,
    10 at 150, none at 30.

    Args:
        n: test examples.
        disagreement: s, the share of examples that the two programs score differently.
        level: two-sided confidence level.
        power: chance that the interval of such a gain lies above zero.
    """
    a, b = _z(level), NormalDist().inv_cdf(power)
    if n <= max(0.0, a * a - b * b):
        return None
    gain = math.sqrt(disagreement) * (a * math.sqrt(n) + b * math.sqrt(n + b * b - a * a)) / (n + b * b)
    return gain if gain <= disagreement else None


def fewest_detecting(disagreement: float = DISAGREEMENT, level: float = 0.95, power: float = 0.8) -> int:
    """Return how many test examples are the fewest that detect a gain, one as large as the disagreement."""
    # Connor's formula with d = s.
    a, b = _z(level), NormalDist().inv_cdf(power)
    return math.ceil((a + b * math.sqrt(1 - disagreement)) ** 2 / disagreement)


def shrunk_means(means: Sequence[float], ns: Sequence[int]) -> list[float]:
    """Return candidates' means pulled towards their common mean by as much as chance explains.

    Empirical Bayes with moments (DerSimonian and Laird 1986). With m the pooled mean, v_i = m (1 - m) / n_i (the
    most that scores in [0, 1] can vary), w_i = 1 / v_i, Q = sum of w_i (mean_i - m)^2 over k candidates::

        t2       = max(0, (Q - (k - 1)) / (sum w - sum w^2 / sum w))      # true variance between candidates
        shrunk_i = m + t2 / (t2 + v_i) * (mean_i - m)

    So of equal programs none looks better than the rest, and a mean of few examples counts for little.
    """
    if len(means) < 2:
        return list(means)
    total = sum(ns)
    pooled = sum(mean * n for mean, n in zip(means, ns, strict=True)) / total
    # Half a success and half a failure more, so that a few perfect scores do not claim to be certain.
    share = (pooled * total + 0.5) / (total + 1)
    chance = [share * (1 - share) / n for n in ns]
    weights = [1 / v for v in chance]
    spread = sum(w * (mean - pooled) ** 2 for w, mean in zip(weights, means, strict=True))
    scale = sum(weights) - sum(w * w for w in weights) / sum(weights)
    between = max(0.0, (spread - (len(means) - 1)) / scale)
    return [pooled + between / (between + v) * (mean - pooled) for mean, v in zip(means, chance, strict=True)]


def _z(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + level / 2)


def _tango_score(fixed: float, broken: float, n: float, difference: float) -> float:
    """The score statistic at a difference; 0 where nothing contradicts it and nothing varies."""
    b = -(fixed + broken) + (2 * n - fixed + broken) * difference
    c = -broken * difference * (1 - difference)
    # The likeliest share of broken pairs under that difference.
    share = (math.sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * share + difference * (1 - difference))
    distance = fixed - broken - n * difference
    if variance <= 0:
        return 0.0 if abs(distance) < 1e-9 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def _root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Bisect a falling function that is positive at ``low`` and negative at ``high``."""
    for _ in range(60):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _graded(differences: Sequence[float], keys: Sequence[str], level: float, seed: int) -> tuple[Interval, str]:
    """Return the interval of the mean of graded or grouped differences, and how it was made."""
    import numpy as np

    index = {name: i for i, name in enumerate(sorted(set(keys)))}
    sums, counts = np.zeros(len(index)), np.zeros(len(index))
    for key, difference in zip(keys, differences, strict=True):
        sums[index[key]] += difference
        counts[index[key]] += 1
    if np.count_nonzero(sums) >= _DENSE and np.ptp(sums / counts) > 0:
        # Few resamples lie as far out as later looks ask for, and of few groups none may: Student's interval does.
        drawn, student = _resampled(sums, counts, level, seed), _student(sums, counts, level)
        return Interval(min(drawn.low, student.low), max(drawn.high, student.high)), "resampling"
    n = len(differences)
    effective = n * n / float((counts**2).sum())  # Kish's, as if groups agreed within
    gains = math.fsum(d for d in differences if d > 0) * effective / n
    losses = -math.fsum(d for d in differences if d < 0) * effective / n
    return tango(gains, losses, effective, level), "bound"


def _student(sums: np.ndarray, counts: np.ndarray, level: float) -> Interval:
    """Return Student's interval of a mean over ten groups or more."""
    freedom = len(sums) - 1
    # Its quantile from the normal one, within 2 % from nine degrees of freedom on (Gaver and Kafadar 1984).
    scaled = _z(level) ** 2 * (freedom - 1.5) / (freedom - 1) ** 2
    half = math.sqrt(freedom * math.expm1(scaled)) * float(_standard_error(sums, counts))
    mean = float(sums.sum() / counts.sum())
    return Interval(max(-1.0, mean - half), min(1.0, mean + half))


def _resampled(sums: np.ndarray, counts: np.ndarray, level: float, seed: int) -> Interval:
    """Return the bootstrap-t interval of a mean over groups (Efron and Tibshirani 1993, §12.5)."""
    import numpy as np

    groups = len(sums)
    mean = float(sums.sum() / counts.sum())
    # Keeps a resample of nearly equal groups from dividing by almost nothing.
    floor = 0.5 * float(np.abs(sums).max() / counts.sum())
    error = math.hypot(float(_standard_error(sums, counts)), floor)
    rng, ratios = np.random.default_rng(seed), np.empty(_RESAMPLES)
    rows = max(1, _AT_A_TIME // groups)
    for start in range(0, _RESAMPLES, rows):
        draws = rng.integers(groups, size=(min(rows, _RESAMPLES - start), groups))
        drawn_sums, drawn_counts = sums[draws], counts[draws]
        drawn_means = drawn_sums.sum(axis=1) / drawn_counts.sum(axis=1)
        errors = np.hypot(_standard_error(drawn_sums, drawn_counts), floor)
        ratios[start : start + rows] = (drawn_means - mean) / errors
    low_ratio, high_ratio = np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(max(-1.0, float(mean - high_ratio * error)), min(1.0, float(mean - low_ratio * error)))


def _standard_error(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Standard error of the ratio of sums, groups along the last axis (linearised)."""
    import numpy as np

    groups = sums.shape[-1]
    total = counts.sum(axis=-1, keepdims=True)
    residuals = sums - counts * (sums.sum(axis=-1, keepdims=True) / total)
    variance = (residuals**2).sum(axis=-1) * groups / (groups - 1) / total[..., 0] ** 2
    return np.asarray(np.sqrt(variance))
