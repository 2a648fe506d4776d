"""Demo sets as the paper and its release made them, for the presets that repeat its experiments."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from luthier.program.candidate import Candidate, Demo
from luthier.program.signature import Signature
from luthier.propose.demo_sets import RESHUFFLES, DemoSet, SetsMade, demo_set
from luthier.propose.demos import bootstrapped_demos
from luthier.propose.teaching import Harvest, Teaching

if TYPE_CHECKING:
    from luthier.evaluation.data import Row

_ZERO_SHOT, _LABELS_ONLY, _UNSHUFFLED = "zero-shot", "labels-only", "unshuffled"


@dataclass(frozen=True, slots=True)
class PaperSets:
    """What the paper's sets are made from.

    Args:
        teaching: how the teacher is rolled out.
        harvest: where rollouts are counted; none is made twice.
        rows: the training rows, in their own order.
        labeled: labeled demos by predictor.
        signatures: of the predictors.
        hidden: private names.
    """

    teaching: Teaching
    harvest: Harvest
    rows: Sequence[Row]
    labeled: Mapping[str, Sequence[Demo]]
    signatures: Mapping[str, Signature]
    hidden: frozenset[str]

    async def make(self, count: int, *, max_bootstrapped: int, max_labeled: int, seed: int) -> SetsMade:
        """Return N sets: zero-shot, labels-only where allowed, unshuffled, then shuffled ones of random size in 1..K.

        N counts all of them (paper §4.1 as released). A set like an earlier one is drawn again.
        """
        plan = [_ZERO_SHOT, *([_LABELS_ONLY] if max_labeled else []), _UNSHUFFLED][:count]
        sets: list[DemoSet] = []
        dropped = 0
        for index in range(count):
            kind = plan[index] if index < len(plan) else "shuffled"
            for attempt in range(RESHUFFLES):
                rng = random.Random(f"{seed}/{index}/{attempt}")
                made = await self._one(kind, rng, max_bootstrapped, max_labeled)
                if all(made.content != earlier.content for earlier in sets):
                    sets.append(made)
                    break
                # Only what is drawn at random can come out otherwise.
                kind = "shuffled" if kind == _UNSHUFFLED else kind
            else:
                dropped += 1
        warning = f"Only {count - dropped} distinct demo sets could be built ({count} wanted)"
        return SetsMade(tuple(sets), (warning,) if dropped else ())

    async def _one(self, kind: str, rng: random.Random, max_bootstrapped: int, max_labeled: int) -> DemoSet:
        if kind == _ZERO_SHOT:
            return demo_set(dict.fromkeys(self.signatures, ()))
        if kind == _LABELS_ONLY:
            return demo_set({name: _some(self.labeled.get(name, ()), max_labeled, rng) for name in self.signatures})
        rows, size = list(self.rows), max_bootstrapped
        if kind != _UNSHUFFLED:
            rng.shuffle(rows)
            size = rng.randint(1, max_bootstrapped) if max_bootstrapped else 0
        passing = await self._first_passing(rows, size)
        return demo_set({name: self._filled(name, passing, size, max_labeled, rng) for name in self.signatures})

    async def _first_passing(self, rows: Sequence[Row], size: int) -> list[str]:
        """Walk the rows in order until ``size`` have passed; return those."""
        passing: list[str] = []
        position = 0
        while len(passing) < size and position < len(rows):
            # As many at once as are still needed: side by side, yet never one more than one after the other would take.
            step = rows[position : position + size - len(passing)]
            position += len(step)
            fresh = [row for row in step if row.id not in self.harvest.first]
            if fresh:
                await self.teaching.roll_out(fresh, self.harvest)
            passing.extend(row.id for row in step if row.id in self.harvest.passed)
        return passing

    def _filled(
        self, name: str, passing: Sequence[str], size: int, max_labeled: int, rng: random.Random
    ) -> tuple[Demo, ...]:
        """Return a predictor's first K bootstrapped demos, labeled ones before them up to ``max_labeled`` in all."""
        traced: list[Demo] = []
        for example in passing:
            rollout = self.harvest.passed[example]
            made = bootstrapped_demos(rollout, self.signatures, self.hidden, self.teaching.teacher)
            traced.extend(made.get(name, ()))
        traced = traced[:size]
        used = set(passing)
        free = [d for d in self.labeled.get(name, ()) if d.provenance is None or d.provenance.example not in used]
        return (*_some(free, max_labeled - len(traced), rng), *traced)


def labeled_teacher(
    candidate: Candidate, labeled: Mapping[str, Sequence[Demo]], max_labeled: int, seed: int
) -> Candidate:
    """Return the teacher's prompts: the candidate's with some labeled demos, as the release has it."""
    for name, demos in labeled.items():
        if demos and max_labeled:
            candidate = candidate.with_demos(name, _some(demos, max_labeled, random.Random(f"{seed}/teacher/{name}")))
    return candidate


def _some(demos: Sequence[Demo], count: int, rng: random.Random) -> tuple[Demo, ...]:
    return tuple(rng.sample(list(demos), max(0, min(count, len(demos)))))
