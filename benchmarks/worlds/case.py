"""A case: one optimizer on one world with one budget; its file, and whether that is up to date."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from benchmarks.worlds.world import VERSION, world

RESULTS = Path(__file__).parents[1] / "results" / "worlds"
TRAIN, VAL, TEST = range(1, 101), range(101, 201), range(201, 301)
"""Numbers of the rows that every optimizer gets; test rows are for luthier's verdict, which is no part of the cost."""
PROBE_ROW = 10_001


@dataclass(frozen=True, slots=True)
class Case:
    """One optimizer on one world.

    Attributes:
        optimizer: its name; peers' begin with ``dspy-`` or ``gepa``; ``NAME@VERSION`` is another luthier's.
        kind: of the world.
        seed: of the world and of the optimizer.
        budget: program runs of the search, everything before a verdict included.
        ability: of the proposer, from 0 to 1.
    """

    optimizer: str
    kind: str
    seed: int
    budget: int
    ability: float = 1.0

    @property
    def validation(self) -> int:
        """How many validation rows a user with that budget would keep; GEPA takes them all, as it is meant to."""
        return 100 if self.budget >= 600 else 50 if self.budget >= 300 else 25 if self.budget >= 150 else 15

    @property
    def path(self) -> Path:
        """Its file."""
        ability = "" if self.ability == 1 else f"-ability-{self.ability:g}"
        return RESULTS / self.optimizer.replace("/", "_") / f"{self.kind}-{self.seed}-{self.budget}{ability}.json"

    @property
    def base_url(self) -> str:
        """The path of its session on the server."""
        return f"/{self.kind}/{self.seed}/{self.ability:g}/{self.optimizer.replace('/', '_')}-{self.budget}/v1"

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)

    def fingerprint(self, version: str) -> str:
        """Return a hash of the world and of the optimizer's version."""
        made = world(self.kind, self.seed)
        # Sets are sorted: their order differs from process to process.
        facts = json.dumps([VERSION, asdict(made), version, self.to_json()], default=sorted)
        return hashlib.blake2b(facts.encode(), digest_size=8).hexdigest()

    def result(self, version: str) -> dict[str, Any] | None:
        """Return the result on disk; None where there is none, or it is of another world or version."""
        if not self.path.exists():
            return None
        found: dict[str, Any] = json.loads(self.path.read_text())
        return found if found["fingerprint"] == self.fingerprint(version) else None

    def save(self, version: str, found: dict[str, Any]) -> None:
        """Write the result."""
        made = world(self.kind, self.seed)
        facts = {"original": made.original(), "possible": made.possible(), "version": version}
        whole = {**self.to_json(), **facts, **found, "fingerprint": self.fingerprint(version)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(f".{uuid4().hex}.draft")  # two runs at once may save the same case
        draft.write_text(json.dumps(whole, indent=1, sort_keys=True) + "\n")
        draft.replace(self.path)
