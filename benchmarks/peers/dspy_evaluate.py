"""Time DSPy's ``Evaluate`` on a loopback server, in DSPy's own environment: ``dspy_evaluate.py URL CALLS THREADS``."""

from __future__ import annotations

import json
import sys
import time

import dspy


def main() -> None:
    """Print CPU and wall seconds of one evaluation, after a warm-up."""
    url, calls, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dspy.configure(lm=dspy.LM("openai/any", api_base=url, api_key="key", cache=False, max_tokens=64))
    program = dspy.Predict("question -> answer")

    def run(n: int) -> None:
        rows = [dspy.Example(question=f"question {i}", answer="yes").with_inputs("question") for i in range(n)]
        evaluate = dspy.Evaluate(
            devset=rows,
            metric=lambda e, p, trace=None: p.answer == e.answer,
            num_threads=threads,
            display_progress=False,
        )
        evaluate(program)

    run(50)
    cpu, wall = time.process_time(), time.perf_counter()
    run(calls)
    print(json.dumps({"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}))


if __name__ == "__main__":
    main()
