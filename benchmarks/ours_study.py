"""Tune with luthier on the loopback server, in a process of its own: ``ours_study.py URL``; beside ``peers/``."""

from __future__ import annotations

import json
import sys
import tempfile
import time

import aiohttp  # noqa: F401 - what is loaded lazily is loaded first, here as in the peers' scripts
import numpy as np  # noqa: F401

import luthier as lt


@lt.predictor
def answer(question: str) -> str:
    """Answer the question with yes or no."""
    return lt.predict()


def main() -> None:
    """Print CPU and wall seconds of one study: 100 to learn from, 100 to choose on, 100 for the verdict."""
    lm = lt.LM("any", base_url=sys.argv[1], api_key="key", max_tokens=64)
    with lt.use(lm):
        answer(question="question 1000")  # the first call loads the client
    rows = [{"question": f"question {i}", "answer": "no" if i % 2 else "yes"} for i in range(300)]
    data = lt.Splits(rows[:100], rows[100:200], rows[200:])
    # Demos as many as MIPROv2 takes unasked: four bootstrapped, and four labeled besides.
    settings = lt.MIPRO(candidates=6, trials=30, minibatch=25, full_every=10, demo_sizes=(0, 4, 4, 8, 8, 8))
    optimize, metric = lt.optimize, lt.exact_match("answer")  # which are loaded here
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        result = optimize(
            answer, data, metric, lm=lm, optimizer=settings, study_dir=folder, concurrency=64, anyway=True
        )
        spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print(json.dumps({**spent, "decision": result.decision}))


if __name__ == "__main__":
    main()
