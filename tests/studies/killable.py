"""A study in a process of its own, to be killed: ``python -m tests.studies.killable DIRECTORY BASE_URL``."""

from __future__ import annotations

import sys
from pathlib import Path

import luthier as lt
from tests.studies import world


def main() -> None:
    directory, base_url = sys.argv[1:]
    lt.optimize(
        world.describe,
        world.rows(140),
        lt.exact_match("answer"),
        lm=lt.LM("openai/world", base_url=base_url, api_key="key"),
        optimizer=lt.MIPRO(candidates=4, demo_sizes=(0, 3, 6), instructions=3, trials=8, minibatch=9, closing=2),
        study_dir=Path(directory),
        concurrency=8,
    )


if __name__ == "__main__":
    main()
