"""Tune with gepa on the loopback server, in its own environment: ``gepa_study.py URL``."""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["OPENAI_API_BASE"] = sys.argv[1]  # a model named by a string is found by litellm, which looks here
os.environ["OPENAI_API_KEY"] = "key"

import gepa
import litellm


def main() -> None:
    """Print CPU and wall seconds of one run with about as many program runs as the others'."""
    litellm.completion("openai/any", messages=[{"role": "user", "content": "question 1000"}])  # loads the client
    rows = [
        {"input": f"question {i}", "additional_context": {}, "answer": "no" if i % 2 else "yes"} for i in range(200)
    ]
    cpu, wall = time.process_time(), time.perf_counter()
    gepa.optimize(
        seed_candidate={"instruction": "Answer the question with yes or no."},
        trainset=rows[:100],
        valset=rows[100:],
        task_lm="openai/any",
        reflection_lm="openai/any",
        max_metric_calls=1200,
        seed=0,
    )
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print("\n" + json.dumps(spent))


if __name__ == "__main__":
    main()
