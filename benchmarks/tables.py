"""Turn the results of ``proof.py`` into tables: ``benchmarks/results/*.md``. Run alone, it writes them anew."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from luthier.evaluation.stats import PairedDifference, paired

RESULTS = Path(__file__).parent / "results"
OURS = "MIPRO"
BY_CHAT = "chat: MIPRO"
ORIGINAL = "original"
Result = Mapping[str, Any]


def main() -> None:
    """Write every table there are results for."""
    pages = {"demo.md": demo_page(), "iris.md": iris_page(), "kill-embedded.md": kill_page()}
    for name, page in pages.items():
        if page:
            (RESULTS / name).write_text(page, encoding="utf-8")
            print(f"wrote {RESULTS / name}")


def demo_page() -> str:
    """Return the demo's page: one row a split seed, all of them."""
    results = sorted(read("demo"), key=lambda result: result["split_seed"])
    if not results:
        return ""
    rows = [
        [
            str(r["split_seed"]),
            percent(r["before"]),
            percent(r["after"]),
            f"{points(r['difference'])} ({points(r['interval'][0])} to {points(r['interval'][1])})",
            percent(r["control"]),
            f"{points(r['tuned_minus_control'])} ({' to '.join(map(points, r['tuned_minus_control_interval']))})",
            r["decision"],
            f"{r['minutes']:.1f}",
        ]
        for r in results
    ]
    means = {name: statistics.mean(r[name] for r in results) for name in ("before", "after", "control")}
    head = ["split seed", "before", "tuned", "gain, 95 %", "control", "tuned − control, 95 %", "decision", "minutes"]
    return (
        "# The demo on five fresh splits\n\n"
        "`python -m benchmarks.proof demo`: the program of `luthier.demo.iris.classify`, qwen2.5-coder-0.5b on two "
        "slow cores, 45 train / 45 val / 60 test flowers, equal petals on one side of every cut. Settings were fixed "
        "before; every split was run once; all are shown. Control: as many labelled demos as the largest set has (18), "
        "original instructions, no search. Minutes were taken beside other work on the same two cores.\n\n"
        f"{table(head, rows)}\n"
        f"Means: {percent(means['before'])} before, {percent(means['after'])} tuned, "
        f"{percent(means['control'])} control.\n"
    )


def iris_page() -> str:
    """Return the comparison on Iris and Iris-Typo: by method over seeds, and paired with ours."""
    parts = []
    for task, title in (("iris", "Iris"), ("iris_typo", "Iris-Typo")):
        results = [r for r in read(task) if "after" in r]
        crashed = [r for r in read(task) if "crashed" in r]
        if results:
            parts.append(f"## {title}\n\n{comparison(results, crashed)}")
    if not parts:
        return ""
    return (
        "# Iris and Iris-Typo, one predictor\n\n"
        "`python -m benchmarks.proof iris --peer-python PATH`: qwen2.5-coder-0.5b, no reasoning, 64 tokens, "
        "30 train / 45 val / 75 test flowers, the same splits. Ours spend about 250 program runs in the search; "
        'DSPy\'s MIPROv2 is `auto="light"`, `num_threads=1`, against the same server by chat; ours use the completion '
        "form. Unreadable are answers on the test rows that could not be parsed. Tokens and calls are of the whole "
        "run; for ours the verdict's are in it, for DSPy the test is not. Seconds were taken beside other work.\n\n"
        + "\n".join(parts)
    )


def comparison(results: Sequence[Result], crashed: Sequence[Result]) -> str:
    """Return the table of one task."""
    by_method: dict[str, list[Result]] = {}
    for result in results:
        by_method.setdefault(result["method"], []).append(result)
    ours = {cell: value for result in by_method.get(OURS, []) for cell, value in cells(result, "after").items()}
    originals = {cell: value for result in by_method.get(OURS, []) for cell, value in cells(result, "before").items()}
    rows = [
        [ORIGINAL, seeds(by_method.get(OURS, [])), percent(mean(originals)), "", *[""] * 5, against(ours, originals)]
    ]
    for method, runs in by_method.items():
        theirs = {cell: value for run in runs for cell, value in cells(run, "after").items()}
        rows.append(
            [
                method,
                seeds(runs),
                percent(statistics.mean(statistics.mean(run["after"]) for run in runs)),
                ", ".join(percent(statistics.mean(run["after"])) for run in runs),
                str(sum(run["unreadable_after"] for run in runs)),
                *(
                    f"{statistics.mean(run['paid'][name] for run in runs):,.0f}"
                    for name in ("lm_calls", "tokens_cached", "tokens_uncached", "tokens_out")
                ),
                "" if method == OURS else against(ours, theirs),
            ]
        )
    head = ["method", "seeds", "test", "by seed", "unreadable", "LM calls", "tokens cached", "uncached", "out"]
    told = table([*head, f"{OURS} minus it, points, 95 %"], rows)
    told += asked_alike(by_method)
    for run in crashed:
        told += f"\n{run['method']}, seed {run['seed']}: stopped with a traceback ({' '.join(run['crashed'])[:200]}).\n"
    return told


def asked_alike(by_method: Mapping[str, Sequence[Result]]) -> str:
    """Return the difference to each peer where ours is asked by chat, too: the renderer taken out."""
    ours = {cell: value for run in by_method.get(BY_CHAT, ()) for cell, value in cells(run, "after").items()}
    lines = [
        f"\n{BY_CHAT} minus {method}, points, 95 %, on the seeds both have: "
        f"{against(ours, {cell: value for run in runs for cell, value in cells(run, 'after').items()})}\n"
        for method, runs in by_method.items()
        if method.startswith("DSPy") and ours
    ]
    return "".join(lines)


def kill_page() -> str:
    """Return what killing a study on the embedded LM did to its records."""
    file = RESULTS / "kill-embedded.json"
    if not file.exists():
        return ""
    found = json.loads(file.read_text(encoding="utf-8"))
    head = ["run", "killed", "exit", "events", "answers", "events lost", "answers lost"]
    names = ("killed", "exit", "events", "answers", "events_lost", "answers_lost")
    rows = [[str(i), *(str(run[name]) for name in names)] for i, run in enumerate(found["runs"])]
    return (
        "# Killing a study on the embedded LM\n\n"
        "`python -m benchmarks.proof kill`: SIGKILL at random moments, then run again. Lost would be an event of the "
        "journal or a stored answer that was there before a run and is not there, or is another, after it.\n\n"
        f"{table(head, rows)}"
    )


def cells(result: Result, part: str) -> dict[str, float]:
    """Return test values by seed and example."""
    return {f"{result['seed']}/{example}": v for example, v in zip(result["test"], result[part], strict=True)}


def against(ours: Mapping[str, float], theirs: Mapping[str, float]) -> str:
    """Return ours minus theirs with its interval, over the cells both have; an example's seeds stay together."""
    both = [cell for cell in ours if cell in theirs]
    if not both:
        return "–"
    one_seed = len({cell.split("/")[0] for cell in both}) == 1
    found: PairedDifference = paired(
        {cell: theirs[cell] for cell in both},
        {cell: ours[cell] for cell in both},
        groups=None if one_seed else {cell: cell.split("/", 1)[1] for cell in both},
    )
    return f"{points(found.difference)} ({points(found.low)} to {points(found.high)})"


def read(folder: str) -> list[Result]:
    """Return all results of a folder."""
    files = sorted((RESULTS / folder).glob("*.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def seeds(runs: Sequence[Result]) -> str:
    """Return how many seeds there are."""
    return str(len(runs))


def mean(values: Mapping[str, float]) -> float:
    """Return the mean."""
    return statistics.mean(values.values())


def percent(value: float) -> str:
    """Return a share as per cent."""
    return f"{100 * value:.1f} %"


def points(value: float) -> str:
    """Return a difference in points."""
    return f"{100 * value:+.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
