"""A study on two servers, from saved prompts, to be killed: ``python -m tests.lms.killable DIRECTORY SMALL STRONG``."""

from __future__ import annotations

import sys
from pathlib import Path

import luthier as lt
from tests.studies import world

START = lt.Candidate({"size": lt.Prompt("Look carefully, and say small or large.")})


def main() -> None:
    directory, small, strong = sys.argv[1:]
    lt.optimize(
        world.describe,
        world.rows(100),
        lt.exact_match("answer"),
        lm={
            "*": lt.LM("openai/small", base_url=small, api_key="key"),
            "size": lt.LM("openai/strong", base_url=strong, api_key="key"),
        },
        start=[START],
        optimizer=lt.MIPRO(candidates=3, demo_sizes=(0, 3), instructions=2, trials=6, minibatch=9, closing=1),
        study_dir=Path(directory),
        concurrency=8,
    )


if __name__ == "__main__":
    main()
