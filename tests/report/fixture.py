"""A made-up but realistic journal: what a study of a two-predictor triage program leaves behind."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from luthier.canonical import content_hash
from luthier.report.write import write_report

Event = dict[str, Any]

PREDICTORS = {
    "summarize_complaint": "Summarize the complaint in one sentence.",
    "route_ticket": "Given the summary of a customer complaint and the product, say which team should handle it.",
}
INSTRUCTIONS = {
    "summarize_complaint": [
        "Summarize the customer's complaint in a single sentence. Name the product part that failed, "
        "what the customer has already tried, and what they ask for. Leave out greetings and anger.",
        "You are a support lead who triages hundreds of complaints a day. Read the complaint and write one sentence "
        "that another engineer could act on.",
        "Write the complaint as: <part> <failure>, tried <steps>, wants <remedy>.",
    ],
    "route_ticket": [
        "Given the summary of a customer complaint and the product, say which team should handle it. Answer with one "
        "of: billing, hardware, software, shipping.\n\nMoney asked back for a broken part is hardware, not billing. "
        "A parcel that arrived damaged is shipping.",
        "Decide which team handles the ticket. Think about who can close it without handing it on.",
        "Route the ticket to the team whose queue is right. If two fit, prefer the one named by the requested remedy.",
    ],
}
TEAMS = ("billing", "hardware", "software", "shipping")
SIZES = (0, 4, 8, 12)


class Writer:
    """Collects events with numbers and times as a study would."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.now = datetime(2026, 3, 14, 9, 30, tzinfo=UTC)

    def add(self, event: str, seconds: float, **data: Any) -> None:
        self.now += timedelta(seconds=seconds)
        self.events.append({"v": 1, "seq": len(self.events), "event": event, "time": self.now.isoformat(), **data})


def journal(*, decision: str = "adopt", trials: int = 26, seed: int = 3, until: str | None = None) -> list[Event]:
    """Return the events of a study, cut after the first event named ``until``."""
    rng = random.Random(seed)
    ids = [content_hash(["row", index]) for index in range(180)]
    train, val, test = ids[:50], ids[50:110], ids[110:]
    writer = Writer()
    _opening(writer, train, val, test)
    first = [_outcome(rng, example, 0.5, shots=0) for example in val]
    writer.add(
        "baseline",
        31.2,
        mean=sum(outcome["value"] for outcome in first) / len(val),
        stderr=0.064,
        n=60,
        outcomes=first,
        counts={"scored": 58, "unparseable": 2, "error": 0, "unscored": 0},
        usage={"lm_calls": 120, "prompt_tokens": 21_960, "completion_tokens": 4_310},
    )
    writer.add("plan_measured", 0.1, **_plan(1.07))
    payloads = _preparation(writer, rng, train)
    _search(writer, rng, payloads, val, trials, gain=0.2 if decision == "adopt" else 0.04)
    _ending(writer, rng, payloads, test, decision)
    if until is None:
        return writer.events
    last = next(index for index, event in enumerate(writer.events) if event["event"] == until)
    return writer.events[: last + 1]


def study(directory: Path, events: Sequence[Mapping[str, Any]]) -> Path:
    """Write the events as a study directory's journal."""
    directory.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(event) + "\n" for event in events)
    (directory / "journal.jsonl").write_text(lines, encoding="utf-8")
    return directory


def hostile(value: Any, poison: str) -> Any:
    """Return JSON with the poison in every text that a model or the data wrote."""
    keep = {"event", "time", "v", "seq", "decision", "purpose", "outcome", "kind", "trial"}
    if isinstance(value, dict):
        return {
            (poison + key if key in PREDICTORS else key): (item if key in keep else hostile(item, poison))
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [hostile(item, poison) for item in value]
    return poison + value if isinstance(value, str) else value


def _opening(writer: Writer, train: list[str], val: list[str], test: list[str]) -> None:
    price = {"input": 0.4, "output": 1.6, "cached_input": 0.1}
    lm = {"name": "openai/gpt-4.1-mini", "identity": "gpt-4.1-mini@https://api.openai.com/v1", "price": price}
    proposer = {"name": "openai/gpt-4.1", "identity": "gpt-4.1@https://api.openai.com/v1", "price": None}
    fields = {"summarize_complaint": (["complaint"], ["summary"]), "route_ticket": (["summary", "product"], ["team"])}
    writer.add(
        "manifest",
        0,
        program="triage:triage",
        predictors=[
            {
                "name": name,
                "instruction": instruction,
                "fingerprint": content_hash(name),
                "inputs": fields[name][0],
                "outputs": fields[name][1],
                "reasoning": False,
            }
            for name, instruction in PREDICTORS.items()
        ],
        lms={"task": lm, "teacher": lm, "proposer": proposer},
        optimizer={"name": "mipro", "settings": {"candidates": 6, "trials": 26, "minibatch": 10, "closing": 3}},
        seed=0,
        split_seed=0,
        budget={"usd": 2.0, "lm_calls": 5000, "tokens": None, "seconds": None},
        versions={"luthier": "0.1.0", "python": "3.11.9"},
        code={"program": content_hash("program"), "metric": content_hash("metric")},
        data={"n": 180, "inputs": ["complaint", "product"], "labels": ["team"]},
        concurrency=64,
        launch={"program": "triage:triage", "metric": "exact_match:team", "data": "tickets.jsonl"},
    )
    writer.add("plan", 0.2, **_plan(1.0))
    writer.add("split", 0.1, train=train, val=val, test=test)


def _plan(scale: float) -> dict[str, Any]:
    rollouts = {"baseline": 60, "bootstrap": 100, "propose": 0, "search": 260, "closing": 180, "verdict": 140}
    phases = []
    for name, count in rollouts.items():
        calls = 22 if name == "propose" else round(count * 2 * scale)
        tokens = calls * 900 if name == "propose" else round(calls * 640 * scale)
        phases.append(
            {
                "name": name,
                "rollouts": count,
                "calls": calls,
                "tokens": tokens,
                "usd": round(tokens * 5e-7, 4),
                "seconds": round(count * 0.55),
            }
        )
    total = {
        key: sum(float(str(phase[key])) for phase in phases)
        for key in ("rollouts", "calls", "tokens", "usd", "seconds")
    }
    notes = ["6 of 26 trials are random start-up, the surrogate chooses 20."]
    return {
        "phases": phases,
        "total": total,
        "leaves_machine": ["api.openai.com"],
        "smallest_detectable": 0.151,
        "surrogate_trials": 20,
        "notes": notes,
    }


def _preparation(writer: Writer, rng: random.Random, train: list[str]) -> dict[str, dict[str, Any]]:
    drawn = []
    for size in SIZES:
        demos = {name: [_demo(rng, name, example) for example in rng.sample(train, size)] for name in PREDICTORS}
        drawn.append(demos)
    writer.add(
        "bootstrap",
        55.0,
        sets=[{"demos": demos, "kind": "mixed"} for demos in drawn],
        passes={"billing": 14, "hardware": 9, "software": 17, "shipping": 0},
        attempts={"billing": 26, "hardware": 25, "software": 24, "shipping": 25},
        warnings=["no rollout passed for the class 'shipping': its demos are completed from labels"],
        traces=[],
    )
    writer.add(
        "grounding",
        8.0,
        dataset_summary="Short complaints of customers about consumer electronics, labelled with a team.",
        program_summary="Summarizes a complaint, then routes it.",
        roles={"summarize_complaint": "shortens the complaint", "route_ticket": "picks the team"},
    )
    proposals = {
        name: [
            {"text": text, "tip": tip, "demo_set": index + 1, "predictor": name}
            for index, (text, tip) in enumerate(zip(texts, ("high_stakes", "persona", "concise"), strict=True))
        ]
        for name, texts in INSTRUCTIONS.items()
    }
    rejected = {"echoes the meta-prompt": 3, "longer than the limit": 1, "quotes a training answer": 2}
    writer.add("proposals", 21.0, predictors=proposals, rejected=rejected)
    payloads: dict[str, dict[str, Any]] = {}
    for name, original in PREDICTORS.items():
        texts = [original, *INSTRUCTIONS[name]]
        levels = [{"predictor": name, "instruction": text} for text in texts]
        payloads[f"{name}.instruction"] = {content_hash(level): level for level in levels}
        demo_levels = [{"demos": {name: by_predictor[name]}} for by_predictor in drawn]
        payloads[f"{name}.demos"] = {content_hash(level): level for level in demo_levels}
    variables = [{"name": name, "levels": list(levels), "kind": "categorical"} for name, levels in payloads.items()]
    writer.add("space", 0.1, variables=variables, payloads=payloads)
    return payloads


def _demo(rng: random.Random, predictor: str, example: str) -> dict[str, Any]:
    complaint = "The left speaker of my headset went silent after the last update; resetting it did not help."
    summary = "Left speaker silent since update, tried reset, wants a fix."
    completed = rng.random() < 0.6
    inputs = {"complaint": complaint} if predictor == "summarize_complaint" else {"summary": summary, "product": "H-20"}
    outputs = {"summary": summary} if predictor == "summarize_complaint" else {"team": rng.choice(TEAMS)}
    provenance = {
        "source": "completed" if completed and predictor == "route_ticket" else "bootstrapped",
        "example": example,
        "rollout": content_hash(example),
        "predictor": predictor,
        "call": 0,
        "temperature": 1.0,
    }
    return {"inputs": inputs, "outputs": outputs, "provenance": provenance}


def _outcome(rng: random.Random, example: str, chance: float, *, shots: int) -> dict[str, Any]:
    kind = "unparseable" if rng.random() < 0.03 else "error" if rng.random() < 0.004 else "scored"
    # Examples differ in difficulty, so that paired outcomes agree as real ones do.
    difficulty = random.Random(example).random() * 0.7 + rng.random() * 0.3
    value = 1.0 if kind == "scored" and difficulty < chance else 0.0
    cost = {"lm_calls": 2, "prompt_tokens": 180 + 70 * shots + rng.randrange(40), "completion_tokens": 36}
    error = "KeyError: 'H-20'" if kind == "error" else ""
    return {
        "example": example,
        "repeat": 0,
        "outcome": kind,
        "value": value,
        "measures": {},
        "error": error,
        "blamed": "route_ticket" if kind == "unparseable" else "",
        "cost": cost,
        "seconds": round(0.4 + rng.random(), 4),
    }


def _search(
    writer: Writer,
    rng: random.Random,
    payloads: dict[str, dict[str, Any]],
    val: list[str],
    trials: int,
    *,
    gain: float,
) -> None:
    names = list(payloads)
    best: dict[str, str] = {name: next(iter(levels)) for name, levels in payloads.items()}
    target = {name: list(levels)[-1 if name.endswith("demos") else 1] for name, levels in payloads.items()}
    for number in range(1, trials + 1):
        reach = min(1.0, number / trials + 0.1)
        point = {name: target[name] if rng.random() < reach else rng.choice(list(payloads[name])) for name in names}
        best = point if rng.random() < 0.5 else best
        start = number * 10 % len(val)
        examples = (val + val)[start : start + 10]
        _trial(writer, rng, number, point, target, examples, "explore", gain)
    others = [{**target, names[0]: next(iter(payloads[names[0]]))}, {**target, names[3]: list(payloads[names[3]])[2]}]
    for offset, point in enumerate([target, *others], start=1):
        _trial(writer, rng, trials + offset, point, target, val, "full", gain)
    writer.add("loop_end", 0.1, trials=trials + 3, reason="done")


def _trial(
    writer: Writer,
    rng: random.Random,
    number: int,
    point: dict[str, str],
    target: dict[str, str],
    examples: list[str],
    purpose: str,
    gain: float,
) -> None:
    writer.add("ask", 0.1, trial=number, point=point, examples=examples, purpose=purpose)
    share = sum(point[name] == target[name] for name in point) / len(point)
    chance = 0.48 + gain * share
    shots = 6 if share > 0.4 else 2
    outcomes = [_outcome(rng, example, chance, shots=shots) for example in examples]
    values = [outcome["value"] for outcome in outcomes]
    usage = {
        "lm_calls": 2 * len(examples),
        "prompt_tokens": sum(outcome["cost"]["prompt_tokens"] for outcome in outcomes),
        "completion_tokens": 36 * len(examples),
    }
    mean = sum(values) / len(values)
    writer.add("tell", 2.0 + len(examples) * 0.5, trial=number, mean=mean, outcomes=outcomes, usage=usage)


def _ending(
    writer: Writer, rng: random.Random, payloads: dict[str, dict[str, Any]], test: list[str], decision: str
) -> None:
    point = {name: list(levels)[-1 if name.endswith("demos") else 1] for name, levels in payloads.items()}
    original = {name: next(iter(levels)) for name, levels in payloads.items()}
    prompts = {}
    for name in PREDICTORS:
        instruction = payloads[f"{name}.instruction"][point[f"{name}.instruction"]]["instruction"]
        demos = payloads[f"{name}.demos"][point[f"{name}.demos"]]["demos"][name]
        prompts[name] = {"instruction": instruction, "demos": demos}
    second = {**point, "summarize_complaint.instruction": original["summarize_complaint.instruction"]}
    third = {**point, "route_ticket.demos": list(payloads["route_ticket.demos"])[2]}
    table = [
        {"point": point, "mean": 0.783, "stderr": 0.053, "n": 60, "is_original": False},
        {"point": third, "mean": 0.733, "stderr": 0.057, "n": 60, "is_original": False},
        {"point": second, "mean": 0.717, "stderr": 0.058, "n": 60, "is_original": False},
        {"point": original, "mean": 0.55, "stderr": 0.064, "n": 60, "is_original": True},
    ]
    writer.add("choice", 0.2, point=point, candidate={"prompts": prompts, "fingerprints": {}}, mean=0.783, table=table)
    _verdict(writer, rng, test, decision)
    predictors = {
        "summarize_complaint": {"mean_without": 0.733, "difference": 0.05, "low": -0.042, "high": 0.142},
        "route_ticket": {"mean_without": 0.6, "difference": 0.183, "low": 0.071, "high": 0.295},
    }
    writer.add("insight", 44.0, predictors=predictors, on="test", n=60)
    writer.add("done", 0.2, decision=decision)


def _verdict(writer: Writer, rng: random.Random, test: list[str], decision: str) -> None:
    before = [_outcome(rng, example, 0.5, shots=0) for example in test]
    after = [_outcome(rng, example, 0.67 if decision == "adopt" else 0.53, shots=12) for example in test]
    pairs = list(zip(before, after, strict=True))
    fixed = [b["example"] for b, a in pairs if a["value"] > b["value"]]
    broken = [b["example"] for b, a in pairs if a["value"] < b["value"]]
    means = [sum(outcome["value"] for outcome in side) / len(test) for side in (before, after)]
    difference = means[1] - means[0]
    low, high = difference - 0.093, difference + 0.088
    sentence = {
        "adopt": f"On {len(test)} held-out examples the tuned prompts score {means[1]:.1%}, "
        f"your original {means[0]:.1%}: better by {100 * difference:.1f} points "
        f"(95 % interval {100 * low:+.1f} to {100 * high:+.1f}).",
        "keep": f"Keep your original: on {len(test)} held-out examples the tuned prompts are not better.",
        "undecided": f"On {len(test)} held-out examples the difference is {100 * difference:+.1f} points, too close "
        "to tell: this many examples show differences from 15 points on.",
    }[decision]
    writer.add(
        "verdict",
        70.0,
        decision=decision,
        before=means[0],
        after=means[1],
        difference=difference,
        low=low,
        high=high,
        n=len(test),
        level=0.95,
        smallest_detectable=0.151,
        fixed=fixed,
        broken=broken,
        tokens_before=232.4,
        tokens_after=1086.1,
        sentence=sentence,
        method="Tango's score interval",
        outcomes_before=before,
        outcomes_after=after,
    )


if __name__ == "__main__":
    import sys

    for form in ("adopt", "keep", "undecided"):
        write_report(study(Path(sys.argv[1]) / form, journal(decision=form)))
    write_report(study(Path(sys.argv[1]) / "running", journal(until="tell")))
    half = journal()
    write_report(study(Path(sys.argv[1]) / "half", half[: len(half) * 2 // 3]))
