"""Thousands of broken inputs: ``fuzz.py [--cases N] [--seed S]``. Writes ``benchmarks/results/fuzz.json``.

Each case either works or ends in an error of luthier's own with a message, within its time; the first that does not is
named with its seed, and the run ends with 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.hostile.cases import Cases  # noqa: E402 - the tests' cases are found from the repository's root

SHARES = {
    "answers": 1.0,
    "candidate files": 0.4,
    "data files": 0.6,
    "data values": 0.8,
    "journal": 0.2,
    "store": 0.2,
    "command line": 0.3,
}
LONGEST = 20.0  # seconds a case may take before it counts as a hang


def main() -> None:
    """Run all kinds of cases and write down how many there were."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = Cases(Path(folder))
        for kind, share in SHARES.items():
            count, slowest = int(share * given.cases), 0.0
            for n in range(count):
                faulthandler.dump_traceback_later(LONGEST, exit=True)
                begun = time.monotonic()
                try:
                    cases.kinds[kind](random.Random(f"{given.seed}/{kind}/{n}"))
                except BaseException:
                    print(f"{kind}, seed {given.seed}, case {n}", file=sys.stderr)
                    raise
                slowest = max(slowest, time.monotonic() - begun)
            faulthandler.cancel_dump_traceback_later()
            found[kind] = {"cases": count, "slowest_seconds": round(slowest, 3)}
            print(kind, found[kind], flush=True)
    slowest_of_all = max(one["slowest_seconds"] for one in found.values())
    total = sum(int(one["cases"]) for one in found.values())
    row = {
        "line": "6. hostile and broken input",
        "measure": "cases of fuzzing: " + ", ".join(f"{kind} {int(one['cases']):,}" for kind, one in found.items()),
        "target": "no traceback that is not ours, no hang",
        "ours": f"{total:,} cases, none; the slowest took {slowest_of_all:.1f} s",
        "peers": "",
        "command": "python -m benchmarks.fuzz",
    }
    (ROOT / "benchmarks" / "results" / "fuzz.json").write_text(
        json.dumps({"rows": [row], "kinds": found, "seed": given.seed}, indent=1) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
