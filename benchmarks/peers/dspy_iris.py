"""Run DSPy's MIPROv2 on a given split of Iris against a given server; run it in DSPy's own environment.

Reads a job from standard input as JSON and writes its outcome to standard output as JSON.
"""

from __future__ import annotations

import json
import random
import sys
import time
from typing import Any

import dspy
import numpy as np


def main() -> None:
    """Tune, then score original and tuned on the test rows."""
    job = json.load(sys.stdin)
    random.seed(job["seed"])  # noqa: TID251 - DSPy draws from the global generators
    np.random.seed(job["seed"])
    lm = dspy.LM(
        f"openai/{job['model']}",
        api_base=job["base_url"],
        api_key=job["api_key"],
        temperature=0.0,
        max_tokens=job["max_tokens"],
        cache=False,
        num_retries=0,
    )
    dspy.configure(lm=lm)
    signature = dspy.Signature(
        {
            "petal_length": (str, dspy.InputField()),
            "petal_width": (str, dspy.InputField()),
            "sepal_length": (str, dspy.InputField()),
            "sepal_width": (str, dspy.InputField()),
            "species": (str, dspy.OutputField(desc=job["classes"])),
        },
        job["instruction"],
    )
    program = dspy.Predict(signature)
    names = ("petal_length", "petal_width", "sepal_length", "sepal_width")
    parts = {part: [dspy.Example(**row).with_inputs(*names) for row in job[part]] for part in ("train", "val", "test")}

    def metric(example: Any, prediction: Any, trace: Any = None) -> bool:
        return str(getattr(prediction, "species", "")).strip().lower() == example.species

    before = score(program, parts["test"], metric)
    calls, started = len(lm.history), time.monotonic()
    optimizer = dspy.MIPROv2(metric=metric, auto="light", num_threads=1, seed=job["seed"], **job["optimizer"])
    tuned = optimizer.compile(program, trainset=parts["train"], valset=parts["val"])
    seconds = time.monotonic() - started
    spent = lm.history[calls:]
    after = score(tuned, parts["test"], metric)
    json.dump(
        {
            "before": before,
            "after": after,
            "lm_calls": len(spent),
            "tokens_cached": (cached := sum(cached_tokens(call) for call in spent)),
            "tokens_uncached": sum(usage(call, "prompt_tokens") for call in spent) - cached,
            "tokens_out": sum(usage(call, "completion_tokens") for call in spent),
            "seconds": seconds,
            "demos": len(tuned.demos),
            "instruction": tuned.signature.instructions,
            "dspy": dspy.__version__,
        },
        sys.stdout,
    )


def score(program: Any, rows: list[Any], metric: Any) -> dict[str, Any]:
    """Return values by row, and how many answers could not be read."""
    values, unreadable = [], 0
    for row in rows:
        try:
            values.append(float(metric(row, program(**row.inputs()))))
        except dspy.utils.exceptions.AdapterParseError:
            values.append(0.0)
            unreadable += 1
    return {"values": values, "unreadable": unreadable}


def usage(call: dict[str, Any], name: str) -> int:
    """Return a count of the call's bill."""
    return int((call.get("usage") or {}).get(name) or 0)


def cached_tokens(call: dict[str, Any]) -> int:
    """Return how many prompt tokens the server had cached, as its bill says."""
    details = (call.get("usage") or {}).get("prompt_tokens_details") or {}
    return int((details if isinstance(details, dict) else vars(details)).get("cached_tokens") or 0)


if __name__ == "__main__":
    main()
