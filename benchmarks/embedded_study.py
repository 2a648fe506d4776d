"""A short study on the embedded LM in a process of its own, to be killed: ``embedded_study.py DIRECTORY``."""

from __future__ import annotations

import sys
from pathlib import Path

import luthier as lt
from luthier.demo import iris


def main() -> None:
    """Tune the demo's program a little."""
    lt.optimize(
        iris.classify,
        iris.petals(),
        lt.exact_match("species"),
        lm=lt.LM("local/qwen2.5-coder-0.5b", max_tokens=200),
        optimizer=lt.MIPRO(instructions=2, demo_sizes=(0, 4, 6), trials=4, minibatch=6, closing=1),
        study_dir=Path(sys.argv[1]),
        sizes=(20, 20, 20),
    )


if __name__ == "__main__":
    main()
