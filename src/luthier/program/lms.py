"""Which LM answers which predictor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from luthier.errors import ConfigError
from luthier.lm.lm import LM, Price
from luthier.lm.profile import Profile

REST = "*"
"""In a mapping by predictor: the LM of every predictor that it does not name, and the run's own."""

AnyLM: TypeAlias = LM | str | Callable[..., Any]
LMChoice: TypeAlias = AnyLM | Mapping[str, AnyLM]
"""What ``lm=`` takes: one LM, or a mapping by predictor's name."""


class Answered(Protocol):
    """A predictor, as far as the choice of its LM goes."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def lm(self) -> LM | None:
        """The LM its decorator gave it."""
        ...


@dataclass(frozen=True, slots=True)
class LMs:
    """Who answers: the LM named for a predictor, else the predictor's own, else the run's."""

    default: LM
    """The run's own: what judges, proposes, and teaches where nothing else is said."""
    by_name: Mapping[str, LM] = field(default_factory=dict)
    """By predictor: the LM that answers it; every predictor known beforehand is here."""
    alone: bool = False
    """The run's own answers every predictor, whatever they say (a teacher)."""
    closed: bool = False
    """Nothing was said of predictors that have no name here and no LM of their own."""

    def of(self, predictor: Answered) -> LM:
        """Return the LM that answers a predictor.

        Raises:
            ConfigError: nothing says which.
        """
        if self.alone:
            return self.default
        found = self.by_name.get(predictor.name) or predictor.lm
        if found is None and self.closed:
            raise ConfigError(
                f"no LM for predictor {predictor.name!r}: lm= names only {', '.join(sorted(self.by_name))}; "
                f"give it one, or add {REST!r} for all others"
            )
        return found or self.default

    def answering(self, name: str) -> LM:
        """Return the LM that answers the predictor of that name."""
        return self.default if self.alone else self.by_name.get(name, self.default)

    @property
    def all(self) -> tuple[LM, ...]:
        """The run's own LM and every other that answers a predictor, each once."""
        others = () if self.alone else self.by_name.values()
        return tuple({id(lm): lm for lm in (self.default, *others)}.values())

    @property
    def mixed(self) -> bool:
        """Whether some predictor is answered by another LM than the run's own, so that bills must be told apart."""
        return not self.alone and any(lm is not self.default and lm != self.default for lm in self.by_name.values())

    @property
    def is_local(self) -> bool:
        """Whether an embedded model is among them."""
        return self.max_abreast is not None

    @property
    def profile(self) -> Profile:
        """The profile of the weakest of them: a candidate's prompts go to all."""
        return Profile.SMALL if any(lm.profile is Profile.SMALL for lm in self.all) else Profile.ABLE

    @property
    def max_abreast(self) -> int | None:
        """How many programs may run at a time: as many as an embedded model takes requests; None without one."""
        return min((lm.max_in_flight for lm in self.all if lm.is_local), default=None)

    @property
    def price(self) -> Price | None:
        """The highest of their prices, in and out by itself; None where one that must be paid has no known price."""
        unknown = [lm for lm in self.all if lm.price is None]
        known = [lm.price for lm in self.all if lm.price is not None]
        # A server on this machine costs nothing.
        if not known or any(lm.address is None or lm.leaves_machine is not None for lm in unknown):
            return None
        if len(known) == 1:
            return known[0]
        return Price(max(price.input for price in known), max(price.output for price in known))

    def check(self, *, dollars: bool = False, tokens: bool = False) -> None:
        """Check every LM, as ``LM.check`` does.

        Raises:
            ConfigError: a key, a price or a longest answer is missing.
        """
        for lm in self.all:
            lm.check(dollars=dollars, tokens=tokens)


def resolve(given: LMChoice | LMs, predictors: Collection[Answered] | None, *, alone: bool = False) -> LMs:
    """Return who answers which of the predictors; an embedded LM gets a slot for each that it answers.

    Args:
        given: what the user gave.
        predictors: those that are known; None where nobody knows, as inside ``lt.use``.
        alone: the LM given answers every predictor, also those with one of their own.

    Raises:
        ConfigError: a name is none of the predictors', or a predictor has no LM.
    """
    if isinstance(given, LMs):
        return given
    made: dict[Any, LM] = {}

    def lm_of(one: AnyLM) -> LM:
        if isinstance(one, LM):
            return one
        if isinstance(one, Mapping):
            raise ConfigError("lm= is one LM, or a mapping from predictors' names to LMs, not a mapping of mappings")
        # Equal names are one LM.
        return made.setdefault(one if isinstance(one, str) else id(one), LM(one))

    if not isinstance(given, Mapping):
        named, default, closed = {}, lm_of(given), False
    else:
        named = {name: lm_of(one) for name, one in given.items() if name != REST}
        if not given:
            raise ConfigError(f"lm={{}}: name an LM for each predictor, or one for all as {REST!r}")
        closed = REST not in given
        default = next(iter(named.values())) if closed else lm_of(given[REST])
    lms = LMs(default, named, alone, closed)
    if predictors is None:
        return lms
    known = sorted(predictor.name for predictor in predictors)
    if unknown := sorted(named.keys() - set(known)):
        raise ConfigError(
            f"lm= names {', '.join(map(repr, unknown))}, but the program's predictors are {', '.join(known)}; "
            "one that is met only at run time needs predictors=[...]"
        )
    return _with_slots(LMs(default, {p.name: lms.of(p) for p in predictors}, alone, closed))


def _with_slots(lms: LMs) -> LMs:
    # An embedded LM keeps one warm prefix per slot, so every predictor it answers gets a slot of its own.
    answered = Counter(lms.answering(name).name for name in lms.by_name)
    grown: dict[int, LM] = {}

    def with_slots(lm: LM) -> LM:
        if not lm.is_local:
            return lm
        if id(lm) not in grown:
            grown[id(lm)] = lm.with_settings(slots=max(lm.slots, answered[lm.name]))
        return grown[id(lm)]

    by_name = {name: with_slots(lm) for name, lm in lms.by_name.items()}
    return LMs(with_slots(lms.default), by_name, lms.alone, lms.closed)
