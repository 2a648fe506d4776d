"""What the paper reports, to stand beside our runs (MIPRO Table 2, means of five runs; its LM was Llama-3-8B)."""

from __future__ import annotations

from types import MappingProxyType

PAPER_TEST = MappingProxyType(
    {
        "original": {
            "scone": 69.1,
            "hotpotqa": 36.1,
            "hover": 25.3,
            "hotpotqa_conditional": 6.0,
            "iris": 40.9,
            "iris_typo": 32.0,
            "heart_disease": 26.8,
        },
        "opro-g": {"scone": 76.1, "hotpotqa": 36.0, "hover": 25.7},
        "opro": {"scone": 73.5, "hotpotqa": 39.0, "hover": 32.5},
        "mipro0": {
            "scone": 71.5,
            "hotpotqa": 36.8,
            "hover": 33.1,
            "hotpotqa_conditional": 14.6,
            "iris": 36.4,
            "iris_typo": 56.7,
            "heart_disease": 25.8,
        },
        "mipro0++": {"scone": 75.7, "hotpotqa": 39.3, "hover": 32.6},
        "bootstrap-random-search": {
            "scone": 75.4,
            "hotpotqa": 45.8,
            "hover": 37.2,
            "hotpotqa_conditional": 10.4,
            "iris": 94.1,
            "iris_typo": 58.7,
            "heart_disease": 79.2,
        },
        "bayesian-bootstrap": {"scone": 77.4, "hotpotqa": 46.2, "hover": 37.6},
        "mipro": {
            "scone": 79.4,
            "hotpotqa": 46.4,
            "hover": 39.0,
            "hotpotqa_conditional": 23.3,
            "iris": 88.6,
            "iris_typo": 68.7,
            "heart_disease": 74.2,
        },
    }
)
"""Test scores in percent, by optimizer and task; where the paper has none, there is none."""


def paper_test(optimizer: str, task: str) -> float | None:
    """Return the paper's test score of an optimizer, whatever preset of ours it is held against.

    Short forms of tasks have none: their programs leave out reasoning, so they are not the paper's.
    """
    return PAPER_TEST.get(optimizer.removesuffix("/paper"), {}).get(task)
