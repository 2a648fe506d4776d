"""From levels of the search space to prompts: what the search chooses, and what it means for a program."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from luthier.canonical import content_hash
from luthier.errors import ConfigError
from luthier.program.candidate import Candidate, Demo
from luthier.propose.bootstrap import DemoSet
from luthier.propose.instructions import Proposal
from luthier.search.space import Point, Space, Variable
from luthier.study.events import ArrivalEvent, Event, SpaceEvent, event_of, every

TIED = "demos"
"""The variable of a demo set shared by all predictors (random search)."""


@dataclass(frozen=True, slots=True)
class Choices:
    """A search space together with what each level stands for.

    ``payloads[variable][level]`` is ``{"predictor": …, "instruction": …}`` or ``{"demos": {predictor: [demo, …]}}``, or
    ``{"setting": …}``, which says how a candidate came about and changes no prompt.
    """

    space: Space
    payloads: Mapping[str, Mapping[str, Mapping[str, Any]]]

    @property
    def settings(self) -> list[str]:
        """The variables that say how a candidate came about."""
        return [name for name, levels in self.payloads.items() if all("setting" in each for each in levels.values())]

    def candidate(self, point: Point, original: Candidate) -> Candidate:
        """Return the candidate a point stands for; what the space does not name stays as it is."""
        candidate = original
        for variable, level in point.items():
            payload = self.payloads[variable][level]
            if "instruction" in payload:
                candidate = candidate.with_instruction(payload["predictor"], payload["instruction"])
            for predictor, demos in payload.get("demos", {}).items():
                candidate = candidate.with_demos(predictor, [Demo.from_json(demo) for demo in demos])
        return candidate

    def anchors(self, demo_sets: Sequence[DemoSet]) -> tuple[Point, ...]:
        """Return the original instructions with each demo set for all predictors at once, the largest sets first.

        They are what random search over demo sets would try, so a search that begins with them starts
        where labelled few-shot ends.
        """
        points = []
        for demo_set in sorted(demo_sets, key=lambda made: -sum(len(demos) for demos in made.demos.values())):
            levels = dict(self.space.original)
            for predictor, demos in demo_set.demos.items():
                payload = {"demos": {predictor: [demo.to_json() for demo in demos]}}
                variable, level = f"{predictor}.demos", content_hash(_without_provenance(payload))
                if level in self.payloads.get(variable, {}):
                    levels[variable] = level
            points.append(Point(levels))
        return tuple(point for point in dict.fromkeys(points) if point != self.space.original)

    def point_of(self, candidate: Candidate) -> Point:
        """Return the point that stands for a candidate; parts that are no level, being frozen, are the original's."""
        levels = dict(self.space.original)
        for variable, payloads in self.payloads.items():
            known = payloads[levels[variable]]
            if "instruction" in known:
                predictor = known["predictor"]
                wanted = {"predictor": predictor, "instruction": candidate.prompts[predictor].instruction}
            elif "demos" in known:
                wanted = _demos_of(candidate, known["demos"])
            else:
                continue
            level = content_hash(_without_provenance(wanted))
            levels[variable] = level if level in payloads else levels[variable]
        return Point(levels)

    def grown(self, arrival: ArrivalEvent) -> Choices:
        """Return the choices with what an arrival brought."""
        payloads = {name: dict(levels) for name, levels in self.payloads.items()}
        for name, levels in arrival.payloads.items():
            payloads[name].update(levels)
        points = [Point(point) for point in arrival.points]
        return Choices(self.space.with_arrivals(arrival.levels, points), payloads)

    def arriving(self, programs: Iterable[tuple[Point, Mapping[str, Mapping[str, Any]]]]) -> ArrivalEvent:
        """Return an arrival of programs: each is a known point with further payloads in place of some levels."""
        levels: dict[str, list[str]] = {}
        payloads: dict[str, dict[str, Any]] = {}
        points = []
        for base, changed in programs:
            point = dict(base)
            for name, payload in changed.items():
                level = point[name] = content_hash(_without_provenance(payload))
                if level not in self.payloads[name] and level not in payloads.get(name, {}):
                    levels.setdefault(name, []).append(level)
                    payloads.setdefault(name, {})[level] = dict(payload)
            points.append(point)
        return ArrivalEvent(levels=levels, points=points, payloads=payloads, usage={})

    def instructions(self, point: Point) -> dict[str, str]:
        """Return the instructions that a point's levels stand for, by predictor."""
        payloads = [self.payloads[variable][level] for variable, level in point.items()]
        return {payload["predictor"]: payload["instruction"] for payload in payloads if "instruction" in payload}

    @staticmethod
    def recorded(events: Iterable[Event]) -> Choices:
        """Return the choices that a study's events have: its space, and all that arrived."""
        events = list(events)
        found = Choices.of(event_of(events, SpaceEvent))
        for arrival in every(events, ArrivalEvent):
            found = found.grown(arrival)
        return found

    @property
    def event(self) -> SpaceEvent:
        """The choices as the journal keeps them."""
        payloads = {variable: dict(levels) for variable, levels in self.payloads.items()}
        return SpaceEvent(variables=self.space.to_json(), payloads=payloads)

    @staticmethod
    def of(event: SpaceEvent) -> Choices:
        """Read choices back."""
        variables = tuple(Variable(v["name"], tuple(v["levels"]), v["kind"]) for v in event.variables)
        return Choices(Space(variables), event.payloads)


def choices(
    original: Candidate,
    *,
    starts: Sequence[Candidate] = (),
    instructions: Mapping[str, Sequence[Proposal]] | None = None,
    demo_sets: Sequence[DemoSet] = (),
    tied: bool = False,
    frozen: Iterable[str] = (),
    settings: Mapping[str, Sequence[Any]] | None = None,
) -> Choices:
    """Build the space: one instruction and one demo-set variable per predictor, one variable per text (MIPRO §4.3).

    Args:
        original: the program as it is; its prompts are always the first levels.
        starts: prompts to start from, whose parts are levels, too, also of variables that are not tuned otherwise.
        instructions: proposals by predictor; None keeps the original instructions.
        demo_sets: sets over all predictors; empty keeps the original demos.
        tied: one demo-set variable over all predictors, as random search has it (MIPRO §4.1).
        frozen: names of variables left as the original has them.
        settings: by variable, values of settings that candidates come about with (MIPRO++); numbers are ordered.
    """
    with_demos = sorted(name for name, prompt in original.prompts.items() if prompt.kind.takes_demos)
    payloads: dict[str, dict[str, dict[str, Any]]] = {}
    for predictor in sorted(original.prompts):
        own, others = original.prompts[predictor], [start.prompts[predictor] for start in starts]
        told = instructions is not None or any(other.instruction != own.instruction for other in others)
        if told and own.kind.takes_text:
            proposed = [] if instructions is None else [p.text for p in instructions.get(predictor, ())]
            texts = [own.instruction, *(other.instruction for other in others), *proposed]
            payloads[f"{predictor}.instruction"] = _levels(
                {"predictor": predictor, "instruction": text} for text in texts
            )
        differ = bool(demo_sets) or any(other.demos != own.demos for other in others)
        if differ and not tied and predictor in with_demos:
            payloads[f"{predictor}.demos"] = _levels(_demos(original, starts, demo_sets, [predictor]))
    if demo_sets and tied and with_demos:
        payloads[TIED] = _levels(_demos(original, starts, demo_sets, with_demos))
    for name, values in (settings or {}).items():
        payloads[name] = _levels({"setting": value} for value in values)
    skip = set(frozen)
    kept = {name: levels for name, levels in payloads.items() if name not in skip}
    if not kept:
        raise ConfigError(
            f"nothing to search over: {', '.join(sorted(original.prompts))} have no variable that this optimizer tunes "
            "(texts of templates and tools take no demos) and that is not frozen"
        )
    return Choices(Space(tuple(_variable(name, levels) for name, levels in kept.items())), kept)


def _variable(name: str, levels: Mapping[str, Mapping[str, Any]]) -> Variable:
    settings = [payload.get("setting") for payload in levels.values()]
    ordered = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in settings)
    return Variable(name, tuple(levels), "ordinal" if ordered else "categorical")


def _demos(
    original: Candidate, starts: Sequence[Candidate], demo_sets: Sequence[DemoSet], predictors: Sequence[str]
) -> Iterable[dict[str, Any]]:
    yield from (_demos_of(candidate, predictors) for candidate in (original, *starts))
    for demo_set in demo_sets:
        yield {"demos": {p: [demo.to_json() for demo in demo_set.demos.get(p, ())] for p in predictors}}


def _demos_of(candidate: Candidate, predictors: Iterable[str]) -> dict[str, Any]:
    return {"demos": {p: [demo.to_json() for demo in candidate.prompts[p].demos] for p in predictors}}


def _levels(payloads: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Name payloads by content, equal ones once; where a demo was met does not make it another demo."""
    levels: dict[str, dict[str, Any]] = {}
    for payload in payloads:
        levels.setdefault(content_hash(_without_provenance(payload)), payload)
    return levels


def _without_provenance(payload: Mapping[str, Any]) -> dict[str, Any]:
    if "demos" not in payload:
        return dict(payload)
    return {
        "demos": {
            predictor: [{key: value for key, value in demo.items() if key != "provenance"} for demo in demos]
            for predictor, demos in payload["demos"].items()
        }
    }
