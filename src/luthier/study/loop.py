"""The loop of a study: synchronous batches of trials, resumed to the letter."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from luthier.errors import BudgetExhausted
from luthier.search.space import Point, Space
from luthier.search.trial import Ask, Observation, Purpose, Strategy, Trial, in_order, observation_json, observation_of
from luthier.study.events import (
    ArrivalEvent,
    AskEvent,
    Event,
    LoopEndEvent,
    TellEvent,
    every,
    first,
    outcome_of,
    to_json,
)

Evaluate = Callable[[Sequence[Ask], int], Awaitable[Sequence[Sequence[Observation]]]]
"""Evaluates asks, the first of which has this trial number; in order, an observation for every example."""
Grow = Callable[[Space, Sequence[Trial]], Awaitable[ArrivalEvent | None]]
"""Before a batch is asked: what arrives, or None where nothing does, for the same arguments always."""
Append = Callable[[Event], Event]
"""Records an event, and returns it as a reader will see it."""


@dataclass(frozen=True, slots=True)
class Loop:
    """The settings of one loop."""

    space: Space
    strategy: Strategy
    evaluate: Evaluate
    batch: int
    seed: int
    grow: Grow | None = None

    async def run(
        self,
        events: Sequence[Event],
        append: Append,
        prior: Sequence[Trial],
    ) -> tuple[Trial, ...]:
        """Go on where ``events`` end, and return all trials in order, ``prior`` ones first."""
        history = [replace(trial, prior=True) for trial in in_order(prior)]
        begin = history[-1].number + 1 if history else 0
        batches = _recorded_batches(events)
        told = [trial for batch in batches for trial in batch.told]
        if first(events, LoopEndEvent) is not None:
            return (*history, *told)
        # Only the last batch can be unfinished; one that was told in part was asked in full.
        batch = batches[-1] if batches and not batches[-1].done else _Batch()
        history += told[: len(told) - len(batch.told)]
        space, reason = grown(self.space, events), "complete"
        # What arrived last may be what the unfinished batch was to try.
        steps = [event for event in events if isinstance(event, AskEvent | TellEvent | ArrivalEvent)]
        last = steps[-1] if steps else None
        arrived = bool(batch.asks) or (isinstance(last, ArrivalEvent) and bool(last.points))
        try:
            while True:
                if not arrived:
                    space = await self._grow(space, history, append)
                arrived = False
                asks = batch.asks if batch.told else self._ask(space, history, begin, batch.asks, append)
                if not asks:
                    break
                history += batch.told
                history += await self._evaluate(asks[len(batch.told) :], history, begin, append)
                batch = _Batch()
        except BudgetExhausted:
            reason = "budget"
        append(LoopEndEvent(trials=_own(history), reason=reason))
        return tuple(history)

    async def _grow(self, space: Space, history: Sequence[Trial], append: Append) -> Space:
        """Return the space with what arrives before the next batch; what brings no point is not the last."""
        while self.grow is not None and (arrival := await self.grow(space, history)) is not None:
            space = grown(space, [append(arrival)])
            if arrival.points:
                break
        return space

    def _ask(
        self, space: Space, history: Sequence[Trial], begin: int, recorded: Sequence[Ask], append: Append
    ) -> list[Ask]:
        """Return the next batch, which begins with those ``recorded`` before an interruption."""
        # Used, not asked again and compared: after an upgrade the strategy may ask otherwise, and was answered already.
        asks = list(recorded)
        while len(asks) < self.batch:
            number = begin + _own(history) + len(asks)
            ask = self.strategy.ask(space, history, asks, random.Random(f"{self.seed}/{number}"))
            if ask is None:
                break
            append(_ask_event(number, ask))
            asks.append(ask)
        return asks

    async def _evaluate(self, asks: Sequence[Ask], history: Sequence[Trial], start: int, append: Append) -> list[Trial]:
        """Return the answered asks, told in trial order once all are there."""
        begin = start + _own(history)
        answers = await self.evaluate(asks, begin)
        if len(answers) != len(asks):
            raise ValueError(f"{len(asks)} asks were evaluated, {len(answers)} answered")
        trials = [
            Trial(number, ask, tuple(observations))
            for number, (ask, observations) in enumerate(zip(asks, answers, strict=True), start=begin)
        ]
        for trial in trials:
            _check(trial)
        # What goes on is what was written, so a resumed study sees the same, and memory holds it once.
        return [_told(trial.ask, told) for trial in trials if isinstance(told := append(_tell_event(trial)), TellEvent)]


def grown(space: Space, events: Sequence[Event]) -> Space:
    """Return the space with all that the events say arrived."""
    for event in every(events, ArrivalEvent):
        space = space.with_arrivals(event.levels, [Point(point) for point in event.points])
    return space


def recorded_trials(events: Sequence[Event]) -> tuple[Trial, ...]:
    """Return the trials that a journal has told, in order."""
    return tuple(trial for batch in _recorded_batches(events) for trial in batch.told)


@dataclass(slots=True)
class _Batch:
    """What the journal has of one batch."""

    asks: list[Ask] = field(default_factory=list)
    told: list[Trial] = field(default_factory=list)

    @property
    def done(self) -> bool:
        return len(self.told) == len(self.asks)


def _recorded_batches(events: Sequence[Event]) -> list[_Batch]:
    # All asks of a batch come before its first tell, so an ask after a tell begins the next batch.
    batches: list[_Batch] = []
    for event in events:
        if isinstance(event, AskEvent):
            if not batches or batches[-1].told:
                batches.append(_Batch())
            batches[-1].asks.append(_ask_of(event))
        elif isinstance(event, TellEvent):
            ask = batches[-1].asks[len(batches[-1].told)]
            batches[-1].told.append(_told(ask, event))
    return batches


def _told(ask: Ask, event: TellEvent) -> Trial:
    return Trial(event.trial, ask, tuple(observation_of(ask.point, to_json(outcome)) for outcome in event.outcomes))


def _own(history: Sequence[Trial]) -> int:
    return sum(not trial.prior for trial in history)


def _check(trial: Trial) -> None:
    answered = [observation.example for observation in trial.observations]
    missing = [example for example in trial.ask.examples if example not in answered]
    if missing or any(observation.point != trial.ask.point for observation in trial.observations):
        raise ValueError(
            f"trial {trial.number}: no observation for {len(missing)} of {len(trial.ask.examples)} examples, or one of "
            "another point; an unscored rollout must pause the study, not be told"
        )


def _ask_event(number: int, ask: Ask) -> AskEvent:
    return AskEvent(trial=number, point=dict(ask.point), examples=ask.examples, purpose=ask.purpose.value)


def _ask_of(event: AskEvent) -> Ask:
    return Ask(Point(event.point), tuple(event.examples), Purpose(event.purpose))


def _tell_event(trial: Trial) -> TellEvent:
    usage: dict[str, float] = {}
    for observation in trial.observations:
        for name, amount in observation.cost.items():
            usage[name] = usage.get(name, 0) + amount
    outcomes = tuple(outcome_of(observation_json(observation)) for observation in trial.observations)
    return TellEvent(trial=trial.number, mean=trial.mean, outcomes=outcomes, usage=usage)
