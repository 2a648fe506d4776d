"""Where the suite on tasks, the recorded tables, and the paper agree or differ: ``agreement.py``.

Three questions of the paper's lessons (MIPRO §6): does joint search beat either kind of variable alone, do demos beat
instructions, does grounding help? Reads ``results/suite-a`` and ``tables/``; writes ``results/agreement.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.replay.instrument import Found, compare
from benchmarks.replay.strategies import STRATEGIES
from benchmarks.replay.table import OutcomeTable
from benchmarks.suites.claims import KEPT, ONE_SEED, Result, both_kept, by_optimizer, by_seed
from benchmarks.suites.comparisons import difference
from benchmarks.suites.page import markdown
from benchmarks.suites.paper_results import paper_test
from benchmarks.suites.results import read_results
from luthier.report.figures import plural
from luthier.search.space import Variable

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
STRATEGY, EVALUATIONS, SEEDS = "TPE, as mipro runs it", 300, 50
PARTS: Mapping[str, Callable[[Variable], bool]] = {
    "joint": lambda variable: True,
    "demos": lambda variable: variable.name.endswith("demos"),
    "instructions": lambda variable: variable.name.endswith("instruction"),
}
QUESTIONS = (
    ("joint better than demos alone", "mipro", "bootstrap-random-search", "joint", "demos"),
    ("joint better than instructions alone", "mipro", "mipro0", "joint", "instructions"),
    ("demos better than instructions", "bootstrap-random-search", "mipro0", "demos", "instructions"),
    ("grounding better than none", "opro", "opro-g", "", ""),
)
TASKS = ("iris_short", "iris_typo_short")
PAPER_TASKS = ("scone", "hotpotqa", "hover", "hotpotqa_conditional", "iris", "iris_typo", "heart_disease")
LEAD = f"""# Three lessons of the paper, held against our runs

`python -m benchmarks.agreement`. Differences in points of test score, with 95 % intervals; *yes* and *no* where the
interval lies on one side of zero, else *cannot tell*; *one seed* where the interval covers examples only, and so does
not answer. B's intervals cover other cuts and searches of the same rows that each table has, not new examples, and not
other draws: `warm-1` to `warm-3` are the same nine programs drawn three times at temperature 0.7, and where they
disagree, the draw decides. Nothing corrects for the number of intervals on this page.

- A: the suite on tasks ([suite-a.md](suite-a.md)), qwen2.5-coder-0.5b: joint is `mipro`, demos
  `bootstrap-random-search`, instructions `mipro0`, grounding `opro` against `opro-g`; seeds and examples resampled.
- B: the recorded tables, `{STRATEGY}`, {EVALUATIONS} evaluations, {SEEDS} seeds, the other variables left as the
  original has them.
- The paper: Table 2, Llama-3-8B and programs that reason, means of five runs without a spread; the median of its
  tasks' differences, and on how many tasks the first is ahead.
"""


def main() -> None:
    """Write the page."""
    suite = read_results([RESULTS / "suite-a"])
    tables = [OutcomeTable.load(path) for path in sorted((ROOT / "benchmarks" / "tables").glob("*.json"))]
    replays = {table.name: replayed(table) for table in tables}
    head = [
        "question",
        *(f"A: {task}" for task in TASKS),
        *(f"B: {table.name}" for table in tables),
        "the paper, on test",
    ]
    rows = [
        [
            question,
            *(on_task(suite, task, first, second) for task in TASKS),
            *(on_table(found, left, right) for found in replays.values()),
            in_paper(first, second),
        ]
        for question, first, second, left, right in QUESTIONS
    ]
    text = f"{LEAD}\n{markdown(head, rows)}"
    (RESULTS / "agreement.md").write_text(text, encoding="utf-8")
    print(text)


def replayed(table: OutcomeTable) -> dict[str, Found]:
    """Return what the strategy finds when all, or only some variables may vary."""
    strategy = {STRATEGY: STRATEGIES[STRATEGY]}
    return {
        name: compare([table.part(chosen)], strategy, evaluations=EVALUATIONS, seeds=SEEDS)[STRATEGY]
        for name, chosen in PARTS.items()
    }


def on_task(results: Sequence[Result], task: str, first: str, second: str) -> str:
    """Return the difference of two optimizers on a task."""
    done = by_optimizer([result for result in results if result["case"]["task"] == task])
    one, other = done.get(first, []), done.get(second, [])
    found = difference(by_seed(one), by_seed(other))
    if found is None:
        return "–"
    seeds = plural(found.seeds, "seed")
    if both_kept(one, other):
        return f"{KEPT}, {seeds}"
    if found.p is None:
        return f"{ONE_SEED}: {in_points(found.value, found.low, found.high)}"
    return f"{told(found.value, found.low, found.high)}, {seeds}"


def on_table(found: Mapping[str, Found], first: str, second: str) -> str:
    """Return the difference of two parts of a table's space."""
    if not first:
        return "–"
    interval = found[first].minus(found[second])
    return told(found[first].test - found[second].test, *interval)


def in_paper(first: str, second: str) -> str:
    """Return the median of the paper's differences, and on how many tasks the first is ahead."""
    pairs = [(paper_test(first, task), paper_test(second, task)) for task in PAPER_TASKS]
    gaps = sorted(one - other for one, other in pairs if one is not None and other is not None)
    middle = (gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2
    return f"{middle:+.1f}, ahead on {sum(gap > 0 for gap in gaps)} of {len(gaps)}"


def told(value: float, low: float, high: float) -> str:
    """Return a difference with its interval, and what it says."""
    says = "yes" if low > 0 else "no" if high < 0 else "cannot tell"
    return f"{says}: {in_points(value, low, high)}"


def in_points(value: float, low: float, high: float) -> str:
    """Return a difference with its interval."""
    return f"{100 * value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"


if __name__ == "__main__":
    main()
