"""One world in words, with a request and its answer: for docs/worlds.md and for whoever looks for a fault."""

from __future__ import annotations

import json
from typing import Any

from benchmarks.worlds.server import Session
from benchmarks.worlds.world import World, world


def described(kind: str, seed: int) -> str:
    """Return a world's stages, rules, first row, and two requests with their answers."""
    made = world(kind, seed)
    parts = [
        f"# {kind}, seed {seed}: {made.kind.about}",
        f"original {made.original():.3f}, possible {made.possible():.3f}",
    ]
    for stage in made.stages:
        rules = [
            f"  {'known ' if rule.known else 'hidden'}  if {rule.condition}: {rule.answer}" for rule in stage.rules
        ]
        parts.append("\n".join([f"{stage.name}: {stage.instruction}", *rules]))
    row = made.columns(made.row(1))
    parts.append(f"row 1: {json.dumps(row)}")
    session = Session(made, ability=1.0)
    parts += [exchange(session, body) for body in (task_request(made, row), proposer_request(made))]
    return "\n\n".join(parts)


def task_request(made: World, row: dict[str, object]) -> dict[str, Any]:
    """Return a request to the task LM with one rule stated."""
    stage = made.stages[0]
    note = row[stage.note]
    text = f"{stage.instruction} If {stage.rules[0].condition}, the {stage.name} is {stage.rules[0].answer}."
    user = f"note: {note[0] if isinstance(note, list) else note}"
    messages = [{"role": "system", "content": text}, {"role": "user", "content": user}]
    return {"model": "task", "temperature": 0, "messages": messages}


def proposer_request(made: World) -> dict[str, Any]:
    """Return a request to the proposer with three failures."""
    lines = []
    for number in (1, 2, 3):
        row = made.row(number)
        note = made.columns(row)[made.stages[0].note]
        said = {stage.name: ["nothing"] * len(row.cases[stage.name]) for stage in made.stages}
        prediction: dict[str, object] = {"code": ""} if made.kind.blind else dict(said)
        feedback = made.score(number, prediction).feedback
        lines.append(f"Input: {note}\nOutput: nothing\nFeedback: {feedback}")
    request = f"Improve this instruction: {made.stages[0].instruction}\n\n" + "\n\n".join(lines)
    return {"model": "proposer", "temperature": 1, "messages": [{"role": "user", "content": request}]}


def exchange(session: Session, body: dict[str, Any]) -> str:
    """Return a request and its answer as text."""
    said = session.reply(body)
    turns = "\n".join(f"[{message['role']}] {message['content']}" for message in body["messages"])
    return f"--- to the model {body['model']!r}\n{turns}\n--- answer\n{said}"
