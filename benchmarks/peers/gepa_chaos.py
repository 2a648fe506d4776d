"""Tune with gepa, as it comes, on a misbehaving server, in its own environment: ``gepa_chaos.py URL TIMEOUT SEED``.

Prints what came of it, a crash included.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import gepa
from gepa.adapters.default_adapter.default_adapter import DefaultAdapter


def main() -> None:
    """Tune and print."""
    url, timeout, seed = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
    where = {"api_base": url, "api_key": "key", "timeout": timeout}
    rows: list[Any] = [
        {"input": f"n{i}", "additional_context": {}, "answer": "odd" if i % 2 else "even"} for i in range(160)
    ]
    found: dict[str, Any] = {"crash": None, "failed": 0}
    try:
        result = gepa.optimize(
            seed_candidate={"instruction": "Say whether the number is even or odd."},
            trainset=rows[:100],
            valset=rows[100:],
            adapter=DefaultAdapter("openai/world", litellm_batch_completion_kwargs=where),
            reflection_lm="openai/world",
            reflection_lm_kwargs=where,
            max_metric_calls=900,
            seed=seed,
        )
        found |= {
            "instruction": result.best_candidate["instruction"],
            "demos": 0,
            "claimed": float(result.val_aggregate_scores[result.best_idx]),
        }
    except Exception as error:  # noqa: BLE001 - what the peer does is what is measured
        found["crash"] = f"{type(error).__name__}: {error}"[:200]
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
