"""From a budget and the data to numbers: how many candidates, demos, and program runs."""

from __future__ import annotations

import math
from dataclasses import asdict

from luthier.budget import Budget
from luthier.errors import ConfigError
from luthier.lm.lm import Price
from luthier.lm.profile import Profile
from luthier.program.candidate import DemoSource
from luthier.propose.bootstrap import BootstrapSettings
from luthier.runner.facts import Auto, Facts
from luthier.runner.plan import PROPOSER_ANSWER_TOKENS, PROPOSER_PROMPT_TOKENS, RolloutCost

EVALUATIONS: dict[Auto, int] = {"light": 300, "medium": 800, "heavy": 2000}
"""Program runs of the search, by preset, where no budget says otherwise."""

EVALUATIONS_WITHOUT_VERDICT = 100
"""Program runs of the search where nothing is held out, and nobody says how large it is to be."""

CANDIDATES: dict[Auto, int] = {"light": 6, "medium": 12, "heavy": 18}
"""Instructions and demo sets per predictor (as peers' users know them)."""

LARGEST_DEMO_SET = 18
LABELED_DEMOS = 16
"""K: the most demos without a trace in a set of an able LM (as peers' users know it)."""
PROMPT_CHARACTERS = {Profile.ABLE: 64_000, Profile.SMALL: 16_000}
"""How much of a prompt demos may fill: about 16,000 tokens, or 4,000 for a small LM."""


def check_counts(settings: object, *names: str) -> None:
    """Refuse settings that are neither a whole number from 1 on nor None, which has them chosen.

    Raises:
        ConfigError: one is.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ConfigError(f"{name}={value!r}: must be a whole number from 1 on, or None to have it chosen")


def check_preset(preset: str) -> None:
    """Refuse presets that there are not.

    Raises:
        ConfigError: it is none.
    """
    if preset not in ("ours", "paper"):
        raise ConfigError(f"preset={preset!r}: must be 'ours' or 'paper'")


def demo_sizes(sets: int, largest: int) -> tuple[int, ...]:
    """Return the sizes of ``sets`` demo sets, the empty one first, growing to ``largest``.

    The number of demos matters more than which ones on small LMs, so it is searched over:
    a third of the sets is small, a third middling, a third large.

    >>> demo_sizes(6, 18)
    (0, 6, 12, 12, 18, 18)
    """
    if sets < 1:
        return ()
    if largest < 1:  # nothing takes demos
        return (0,)
    filled = sets - 1
    sizes = [math.ceil(largest * math.ceil((index + 2) / 2) / math.ceil((filled + 1) / 2)) for index in range(filled)]
    return (0, *(min(largest, max(1, size)) for size in sizes))


def demo_settings(sets: int, facts: Facts) -> BootstrapSettings:
    """Return how ``sets`` demo sets are collected: sizes and kinds that suit the LMs that run the program.

    Small LMs gain by the number of demos, so their sets grow. Able ones learn from what a demo shows, so their sets
    are large, those that begin with passing traces apart.
    """
    if facts.task is Profile.SMALL or facts.largest_demo_set < 1:
        return BootstrapSettings(sizes=demo_sizes(sets, facts.largest_demo_set))
    most = min(LABELED_DEMOS, facts.largest_demo_set)
    kinds = _kinds(sets)
    sizes = [math.ceil(most / 2) if kind is DemoSource.BOOTSTRAPPED else most for kind in kinds[1:]]
    return with_kinds((0, *sizes), facts)


def with_kinds(sizes: tuple[int, ...], facts: Facts) -> BootstrapSettings:
    """Return how sets of these sizes are collected; for able LMs labels and mistakes come first in two of three."""
    if facts.task is Profile.SMALL:
        return BootstrapSettings(sizes=sizes)
    return BootstrapSettings(sizes=sizes, first=_kinds(len(sizes)), labeled=LABELED_DEMOS)


def _kinds(sets: int) -> tuple[DemoSource, ...]:
    """Return the kind of each set; that of the first, the empty one, decides nothing."""
    turns = (DemoSource.BOOTSTRAPPED, DemoSource.LABELED, DemoSource.CORRECTIVE)
    return tuple(turns[index % len(turns)] for index in range(sets))


def room_for_demos(prompt_characters: float, profile: Profile) -> int:
    """Return how many demos fit a prompt whose one example takes so many characters."""
    return max(1, min(LARGEST_DEMO_SET, int(PROMPT_CHARACTERS[profile] / max(prompt_characters, 1.0))))


def auto_for(evaluations: int) -> Auto:
    """Return the preset whose size a number of program runs comes nearest to, from below."""
    names: tuple[Auto, ...] = ("heavy", "medium", "light")
    return next((name for name in names if evaluations >= EVALUATIONS[name]), "light")


def evaluations_in(
    budget: Budget | None, cost: RolloutCost, price: Price | None, *, fixed_rollouts: int, proposer_calls: int
) -> float:
    """Return how many program runs the budget leaves to the search: its tightest limit decides.

    Args:
        budget: the user's limits; without any the answer is infinite.
        cost: of one run of the original; a candidate's is taken to be that with a middling number of demos.
        price: of the task LM.
        proposer_calls: calls of the proposer.
        fixed_rollouts: program runs outside the search: baseline, bootstrapping, verdict.
    """
    room = math.inf
    proposals = RolloutCost(1.0, PROPOSER_PROMPT_TOKENS, PROPOSER_ANSWER_TOKENS).amounts(price)
    plain, tuned = cost.amounts(price), cost.with_demos(LARGEST_DEMO_SET / 2).amounts(price)
    for name, limit in asdict(budget).items() if budget is not None else ():
        if limit is not None and tuned.get(name):
            fixed = proposer_calls * proposals.get(name, 0.0) + fixed_rollouts * plain[name]
            room = min(room, (limit - fixed) / tuned[name])
    return room


def closing_evaluations(facts: Facts) -> int:
    """Return how many full evaluations are kept for the end: three, or fewer where they would eat half the budget."""
    return min(3, max(1, facts.evaluations // (2 * facts.n_val)))
