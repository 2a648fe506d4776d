"""Tune with DSPy's MIPROv2, as it comes, on a misbehaving server, in DSPy's own environment.

``dspy_chaos.py URL TIMEOUT SEED``. Prints what came of it, a crash included.
"""

from __future__ import annotations

import json
import random
import sys
import threading
from typing import Any

import dspy
import numpy as np


class Kind(dspy.Module):
    """Asks, and counts the rows that end in an exception, which the optimizer records as 0."""

    failed = 0
    lock = threading.Lock()

    def __init__(self) -> None:
        super().__init__()
        self.predict = dspy.Predict(dspy.Signature("number -> kind", "Say whether the number is even or odd."))

    def forward(self, number: str) -> Any:
        """Run the program."""
        try:
            return self.predict(number=number)
        except Exception:
            with Kind.lock:
                Kind.failed += 1
            raise


def main() -> None:
    """Tune and print."""
    url, timeout, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    random.seed(seed)  # noqa: TID251 - DSPy draws from the global generators
    np.random.seed(seed)
    dspy.configure(lm=dspy.LM("openai/world", api_base=url, api_key="key", cache=False, timeout=timeout))
    rows = [dspy.Example(number=f"n{i}", kind="odd" if i % 2 else "even").with_inputs("number") for i in range(160)]
    found: dict[str, Any] = {"crash": None}
    try:
        optimizer = dspy.MIPROv2(metric=lambda e, p, trace=None: p.kind == e.kind, auto="light", seed=seed)
        tuned = optimizer.compile(Kind(), trainset=rows[:100], valset=rows[100:])
        found |= {
            "instruction": tuned.predict.signature.instructions,
            "demos": len(tuned.predict.demos),
            "claimed": float(getattr(tuned, "score", float("nan"))) / 100,
        }
    except Exception as error:  # noqa: BLE001 - what the peer does is what is measured
        found["crash"] = f"{type(error).__name__}: {error}"[:200]
    print("\n" + json.dumps({**found, "failed": Kind.failed}))


if __name__ == "__main__":
    main()
