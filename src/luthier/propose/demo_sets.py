"""Demo sets: from all demos there are to a few sets worth searching over."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.canonical import canonical_json, content_hash, uniform_order
from luthier.program.candidate import Demo, DemoSource

FEW_VALUES = 20
"""Up to so many distinct values, outputs count as classes."""
RESHUFFLES = 8
"""How often a set that turns out like another is drawn again."""

_PASSED = (DemoSource.BOOTSTRAPPED, DemoSource.RETRIED)
"""Sources of demos from runs that passed."""
_FAILED = (DemoSource.COMPLETED, DemoSource.CORRECTIVE)
"""Sources of demos from runs that failed."""
_ORDERS: Mapping[DemoSource, tuple[tuple[DemoSource, ...], ...]] = {
    DemoSource.BOOTSTRAPPED: (_PASSED, _FAILED, (DemoSource.LABELED,), (DemoSource.WRITTEN,)),
    DemoSource.RETRIED: (
        (DemoSource.RETRIED,),
        (DemoSource.BOOTSTRAPPED,),
        _FAILED,
        (DemoSource.LABELED,),
        (DemoSource.WRITTEN,),
    ),
    DemoSource.COMPLETED: (_FAILED, (DemoSource.LABELED,), _PASSED, (DemoSource.WRITTEN,)),
    DemoSource.CORRECTIVE: (
        (DemoSource.CORRECTIVE,),
        (DemoSource.COMPLETED,),
        (DemoSource.LABELED,),
        _PASSED,
        (DemoSource.WRITTEN,),
    ),
    DemoSource.LABELED: ((DemoSource.LABELED,), _FAILED, _PASSED, (DemoSource.WRITTEN,)),
}
"""By the source that a set begins with: which are taken, and which when those run out; those side by side alike."""


@dataclass(frozen=True, slots=True)
class DemoSet:
    """An ordered few demos for every predictor, drawn from the same traces."""

    demos: Mapping[str, tuple[Demo, ...]]
    """By predictor."""
    kind: str
    """``empty``, the source all demos share, or ``mixed``."""

    @property
    def content(self) -> str:
        """Content hash over the demos, whatever their order or provenance."""
        return content_hash(
            {
                name: sorted(canonical_json([dict(d.inputs), dict(d.outputs), d.reasoning]) for d in demos)
                for name, demos in self.demos.items()
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the set as JSON."""
        return {"kind": self.kind, "demos": {name: [d.to_json() for d in demos] for name, demos in self.demos.items()}}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> DemoSet:
        """Read a set back."""
        demos = {name: tuple(Demo.from_json(d) for d in demos) for name, demos in data["demos"].items()}
        return DemoSet(demos, data["kind"])


@dataclass(frozen=True, slots=True)
class SetsMade:
    """Demo sets, and what is to be said about them."""

    sets: tuple[DemoSet, ...]
    warnings: tuple[str, ...]


def demo_set(demos: Mapping[str, Sequence[Demo]]) -> DemoSet:
    """Return a set whose kind is read off its demos."""
    sources = {d.provenance.source.value if d.provenance else "written" for ds in demos.values() for d in ds}
    kind = "empty" if not sources else sources.pop() if len(sources) == 1 else "mixed"
    return DemoSet({name: tuple(ds) for name, ds in demos.items()}, kind)


def distinct_sets(count: int, make: Callable[[int, int], DemoSet]) -> SetsMade:
    """Return the sets ``make(index, attempt)`` gives, each content once; one met before is drawn again."""
    sets: list[DemoSet] = []
    held: set[str] = set()
    dropped = 0
    for index in range(count):
        drawn = (make(index, attempt) for attempt in range(RESHUFFLES))
        new = next((made for made in drawn if made.content not in held), None)
        if new is None:
            dropped += 1
            continue
        held.add(new.content)
        sets.append(new)
    warning = f"Only {count - dropped} distinct demo sets could be built ({count} wanted)"
    return SetsMade(tuple(sets), (warning,) if dropped else ())


def balanced_sets(
    pool: Mapping[str, Sequence[Demo]],
    strata: Mapping[str, str] | None,
    *,
    sizes: Sequence[int],
    first: Sequence[DemoSource],
    labeled: int,
    seed: int,
) -> SetsMade:
    """Return a set for each size, every one with a shuffle of its own and balanced by class.

    A passing trace shows what the LM can do already; a label, and even more a call of a predictor's that was wrong,
    shows what it cannot. So sets differ in what they take first.

    Args:
        pool: all demos by predictor.
        strata: the stratum of each example, for predictors whose own outputs have many values; None: no classes.
        sizes: demos per predictor, by set.
        first: by set, the source whose demos are taken first.
        labeled: how many demos of a set may be bare rows.
        seed: decides the shuffles.
    """
    classes = {name: _classes(demos, strata) for name, demos in pool.items()}

    def make(index: int, attempt: int) -> DemoSet:
        # One salt for all predictors: they meet the examples in one order, so their demos come from the same traces.
        salt = f"{seed}/{index}/{attempt}"
        return demo_set(
            {
                name: _mixed(
                    _pick(demos, sizes[index], classes[name], _ORDERS[first[index]], labeled, salt), f"{salt}/{name}"
                )
                for name, demos in pool.items()
            }
        )

    return distinct_sets(len(sizes), make)


def _classes(demos: Sequence[Demo], strata: Mapping[str, str] | None) -> dict[int, str]:
    """Return each demo's class, by position: its outputs where these are few-valued, else its example's stratum."""
    if strata is None:
        return dict.fromkeys(range(len(demos)), "")
    outputs = [canonical_json(dict(demo.outputs)) for demo in demos]
    distinct = len(set(outputs))
    # As many values as demos are no classes, however few they be.
    if 1 < distinct <= FEW_VALUES and 2 * distinct <= len(demos):
        return dict(enumerate(outputs))
    return {position: strata.get(_example(demo), "") for position, demo in enumerate(demos)}


def _pick(
    demos: Sequence[Demo],
    size: int,
    classes: Mapping[int, str],
    order: Sequence[Sequence[DemoSource]],
    labeled: int,
    salt: str,
) -> list[Demo]:
    """Take demos from the classes in turn; within a class by the order of sources, and new examples first."""
    queues: dict[str, list[Demo]] = {}
    for position in sorted(_ranks(demos, order, salt)):
        queues.setdefault(classes[position[-1]], []).append(demos[position[-1]])
    turn = [queues[name] for name in sorted(queues, key=lambda name: uniform_order(salt, f"class/{name}"))]
    picked: list[Demo] = []
    seen: set[str] = set()
    while len(picked) < size and any(turn):
        for queue in turn:
            demo = _next_new(queue, seen, labeled_left=labeled - _count_labeled(picked))
            if demo is not None and len(picked) < size:
                picked.append(demo)
    return picked


def _ranks(demos: Sequence[Demo], order: Sequence[Sequence[DemoSource]], salt: str) -> list[tuple[int, int, int, int]]:
    """Return (turn of its source, rank among its example's, the example's place in the shuffle, position) of each."""
    turns = {source: turn for turn, sources in enumerate(order) for source in sources}
    calls: dict[tuple[int, str], list[int]] = {}
    for position, demo in enumerate(demos):
        calls.setdefault((turns[_source(demo)], _example(demo)), []).append(position)
    ranks: list[tuple[int, int, int, int]] = []
    for (source, example), positions in calls.items():
        # A predictor called several times in a run: which call speaks first differs from set to set.
        shuffled = sorted(positions, key=lambda p: uniform_order(salt, f"{example}/{_call(demos[p])}"))
        place = uniform_order(salt, example)
        ranks.extend((source, nth, place, position) for nth, position in enumerate(shuffled))
    return ranks


def _next_new(queue: list[Demo], seen: set[str], *, labeled_left: int) -> Demo | None:
    while queue:
        demo = queue.pop(0)
        inputs = canonical_json(dict(demo.inputs))
        if inputs in seen or (_source(demo) is DemoSource.LABELED and labeled_left <= 0):
            continue
        seen.add(inputs)
        return demo
    return None


def _mixed(demos: list[Demo], salt: str) -> list[Demo]:
    random.Random(salt).shuffle(demos)
    return demos


def _count_labeled(demos: Sequence[Demo]) -> int:
    return sum(_source(demo) is DemoSource.LABELED for demo in demos)


def _source(demo: Demo) -> DemoSource:
    return demo.provenance.source if demo.provenance is not None else DemoSource.WRITTEN


def _example(demo: Demo) -> str:
    return (demo.provenance.example if demo.provenance is not None else None) or ""


def _call(demo: Demo) -> int:
    return (demo.provenance.call if demo.provenance is not None else None) or 0
