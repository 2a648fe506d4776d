"""Tune with DSPy's MIPROv2 on the loopback server, in DSPy's own environment: ``dspy_study.py URL``."""

from __future__ import annotations

import json
import sys
import time

import dspy
import numpy as np  # noqa: F401 - what is loaded lazily is loaded first, as for the others
import optuna  # noqa: F401


def main() -> None:
    """Print CPU and wall seconds of one run: as many candidates, trials and examples as ``ours_study.py``."""
    dspy.configure(lm=dspy.LM("openai/any", api_base=sys.argv[1], api_key="key", cache=False, max_tokens=64))
    dspy.Predict("question -> answer")(question="question 1000")  # the first call loads the client
    rows = [
        dspy.Example(question=f"question {i}", answer="no" if i % 2 else "yes").with_inputs("question")
        for i in range(300)
    ]
    optimizer = dspy.MIPROv2(
        metric=lambda example, prediction, trace=None: prediction.answer == example.answer,
        auto=None,
        num_candidates=6,
        num_threads=64,
        seed=0,
    )
    program = dspy.Predict(dspy.Signature("question -> answer", "Answer the question with yes or no."))
    cpu, wall = time.process_time(), time.perf_counter()
    optimizer.compile(
        program,
        trainset=rows[:100],
        valset=rows[100:200],
        num_trials=30,
        minibatch_size=25,
        minibatch_full_eval_steps=10,
    )
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    print("\n" + json.dumps(spent))


if __name__ == "__main__":
    main()
