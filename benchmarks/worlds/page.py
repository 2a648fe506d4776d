"""``results/worlds.md`` and ``results/worlds.html``: tables and curves of the results on disk."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from math import sqrt
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from scipy.stats import beta, t

from benchmarks.suites.page import curves, markdown, page, section
from benchmarks.worlds.case import RESULTS, Case
from benchmarks.worlds.kinds import KINDS, TUNING_KINDS
from benchmarks.worlds.runner import PEERS, is_peer
from benchmarks.worlds.world import VERSION

Result = Mapping[str, Any]
TABLE, CURVES = RESULTS.parent / "worlds.md", RESULTS.parent / "worlds.html"
REPORTED_SEEDS = range(10, 20)
LUTHIER = ("reflect", "mipro", "mipro@0.1.0", "labeled-few-shot@0.1.0", "bootstrap-random-search@0.1.0")
"""luthier's optimizers in the main table; all are in the second."""
RIVAL = ("dspy-miprov2-16", 600)
"""The strongest peer, and its program runs, that differences are measured to."""
_HEAD = """# Worlds: every optimizer and every peer

Written by `python -m benchmarks.worlds table` from the files in `worlds/`; curves: `worlds.html`. How a world is made:
[docs/worlds.md](../../docs/worlds.md). Scores are *computed* for fresh examples, in percent, as means over seeds with
95 % intervals (t, over seeds). A program run is as many LM calls of task LM and teacher as one run of the program
makes; everything before the verdict counts. Peers: {peers}. luthier: {luthier}. Worlds: version {version}.

Constants of optimizers may be chosen on seeds 0 to 9 of {tuning}; what is reported here comes from seeds 10 on.
The last column says how many seeds were run: one seed has no interval, and shows no difference by itself. A dash has
not been run.
"""


def load(folder: Path = RESULTS) -> list[dict[str, Any]]:
    """Return every result on disk of the worlds as they are now, in a fixed order."""
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]
    return [result for result in found if result["seed"] in REPORTED_SEEDS and is_current(result)]


def is_current(result: Result) -> bool:
    """Return whether the world of a result is still the same."""
    if result["kind"] not in KINDS:
        return False
    case = Case(**{field.name: result[field.name] for field in fields(Case)})
    return bool(result["fingerprint"] == case.fingerprint(result["version"]))


def write_table(folder: Path = RESULTS, path: Path = TABLE) -> Path:
    """Write the tables; return where."""
    path.write_text(tables(load(folder)))
    return path


def write_plot(folder: Path = RESULTS, path: Path = CURVES) -> Path:
    """Write the curves; return where."""
    results = [result for result in load(folder) if result["ability"] == 1]
    parts = []
    for kind in KINDS:
        lines = {
            name: line
            for name in [*LUTHIER, *PEERS]
            if (line := curve([r for r in results if r["kind"] == kind and r["optimizer"] == name]))
        }
        if lines:
            about = f"{KINDS[kind].about} Possible: {percent(mean_of(results, kind, 'possible'))} %."
            parts.append(section(kind, about, curves(lines)))
    lead = (
        "Score on fresh examples, computed, of what an optimizer hands over when it is given that many program runs; "
        "bands are 95 % intervals over seeds. A line goes on level where no larger budget was run."
    )
    path.write_text(page("Worlds: score against program runs", lead, parts))
    return path


def curve(results: Sequence[Result]) -> list[tuple[float, float, float, float]]:
    """Return a place for each budget: mean program runs, mean score, low, high; first the original at no cost."""
    budgets = sorted({result["budget"] for result in results})
    if not budgets:
        return []
    original = fmean(result["original"] for result in results)
    places = [(0.0, original, original, original)]
    for budget in budgets:
        at = [result for result in results if result["budget"] == budget]
        middle, half = interval([result["accuracy"] for result in at])
        places.append((fmean(result.get("runs", 0.0) for result in at), middle, middle - half, middle + half))
    return sorted(places)


def tables(results: Sequence[Result]) -> str:
    """Return the whole page."""
    able = [result for result in results if result["ability"] == 1]

    def versions(*, peers: bool) -> str:
        found = sorted({r["version"] for r in results if is_peer(r["optimizer"]) == peers})
        return "; ".join(found) or "not run"

    parts = [
        _HEAD.format(
            peers=versions(peers=True),
            luthier=versions(peers=False),
            version=VERSION,
            tuning=", ".join(TUNING_KINDS),
        )
    ]
    for budget in sorted({result["budget"] for result in able}, reverse=True):
        at = [result for result in able if result["budget"] == budget]
        names = [name for name in (*LUTHIER, *PEERS) if any(r["optimizer"] == name for r in at)]
        if set(names) & set(PEERS):
            parts += [f"## Peers and luthier, budget {budget} program runs", by_kind(at, names)]
    ours = sorted({result["optimizer"] for result in able if not is_peer(result["optimizer"])})
    for budget in (600, 300):
        at = [result for result in able if result["budget"] == budget]
        names = [name for name in ours if any(r["optimizer"] == name for r in at)]
        if names:
            parts += [f"## luthier's optimizers, budget {budget} program runs", by_kind(at, names, spread=False)]
    if any((result["optimizer"], result["budget"]) == RIVAL for result in able):
        parts += [f"## Differences to {RIVAL[0]} at {RIVAL[1]} program runs", differences(able)]
    parts += ["## What it cost, and how it ended", costs(able)]
    parts += ["## Proposals rejected by luthier's guards", rejections(able)]
    parts += ["## Null kinds: false adoptions", adoptions(able)]
    if any(result["ability"] != 1 for result in results):
        parts += ["## Ability of the proposer", abilities(results)]
    return "\n\n".join(parts) + "\n"


def by_kind(results: Sequence[Result], names: Sequence[str], *, spread: bool = True) -> str:
    """Return a table with a row a kind and a column an optimizer; the best of a row in bold."""
    rows = []
    for kind in KINDS:
        cells = {
            name: [r["accuracy"] for r in results if (r["kind"], r["optimizer"]) == (kind, name)] for name in names
        }
        if not any(cells.values()):
            continue
        best = max(fmean(values) for values in cells.values() if values)
        row = [kind, percent(mean_of(results, kind, "original")), percent(mean_of(results, kind, "possible"))]
        for values in cells.values():
            if not values:
                row.append("–")
                continue
            middle, half = interval(values)
            text = percent(middle) + (f" ± {percent(half)}" if spread and len(values) > 1 else "")
            row.append(f"**{text}**" if middle >= best - 1e-9 and not KINDS[kind].null else text)
        rows.append([*row, seeds_of(cells.values())])
    return markdown(["kind", "original", "possible", *names, "seeds"], rows)


def differences(results: Sequence[Result]) -> str:
    """Return a table of paired differences in points; a pair is one kind and seed that both have."""
    scores: dict[tuple[str, int], dict[tuple[str, int], float]] = {}
    for r in results:
        scores.setdefault((r["optimizer"], r["budget"]), {})[r["kind"], r["seed"]] = r["accuracy"]
    rival = scores[RIVAL]
    rows = []
    for (name, budget), own in sorted(scores.items()):
        pairs = {pair: own[pair] - rival[pair] for pair in own.keys() & rival.keys()}
        if is_peer(name) or len(pairs) < 2:
            continue
        middle, half = interval(list(pairs.values()))
        behind = [
            f"{kind} {100 * mean:+.1f}"
            for kind in KINDS
            if (found := [value for pair, value in pairs.items() if pair[0] == kind]) and (mean := fmean(found)) < -0.03
        ]
        bounds = f"{100 * (middle - half):+.1f} to {100 * (middle + half):+.1f}"
        rows.append([name, str(budget), str(len(pairs)), f"{100 * middle:+.1f}", bounds, ", ".join(behind) or "–"])
    head = ["optimizer", "budget", "pairs", "points", "95 % interval", "more than 3 points behind in"]
    return markdown(head, rows)


def costs(results: Sequence[Result]) -> str:
    """Return what each optimizer took on average, by budget."""
    rows = []
    for name in sorted({result["optimizer"] for result in results}, key=lambda name: (is_peer(name), name)):
        for budget in (300, 600):
            at = [r for r in results if (r["optimizer"], r["budget"]) == (name, budget)]
            if not at:
                continue
            ended = Counter(str(r["error"]).partition(":")[0] for r in at if "error" in r)
            means = [
                f"{fmean(r.get(key, 0) for r in at):,.0f}" for key in ("runs", "proposer_calls", "proposer_tokens")
            ]
            length = f"{fmean(r.get('tokens_per_run', 0) for r in at):,.0f}"
            errors = ", ".join(f"{count} {kind}" for kind, count in ended.items()) or "–"
            rows.append([name, str(budget), str(len(at)), *means, length, errors])
    head = [
        "optimizer",
        "budget",
        "cases",
        "program runs",
        "proposer calls",
        "proposer tokens",
        "tokens a run",
        "errors",
    ]
    return markdown(head, rows)


def rejections(results: Sequence[Result]) -> str:
    """Return how many proposals each optimizer of luthier's kept, and why it rejected the others."""
    rows = []
    for name in sorted({result["optimizer"] for result in results if "proposals" in result}):
        at = [r["proposals"] for r in results if r["optimizer"] == name and "proposals" in r]
        accepted = sum(one["accepted"] for one in at)
        reasons: Counter[str] = Counter()
        for one in at:
            reasons.update(one["rejected"])
        if accepted or reasons:
            why = ", ".join(f"{count:,} {reason}" for reason, count in reasons.most_common())
            rows.append([name, f"{accepted:,}", why or "–"])
    return markdown(["optimizer", "accepted", "rejected"], rows)


def adoptions(results: Sequence[Result]) -> str:
    """Return how often a prompt that is no better was adopted, with the exact 95 % interval."""
    rows = []
    for kind in (name for name, kind in KINDS.items() if kind.null):
        at = [r for r in results if r["kind"] == kind and "decision" in r]
        adopted = sum(r["decision"] == "adopt" for r in at)
        if at:
            low = beta.ppf(0.025, adopted, len(at) - adopted + 1) if adopted else 0.0
            high = beta.ppf(0.975, adopted + 1, len(at) - adopted) if adopted < len(at) else 1.0
            rows.append([kind, str(len(at)), str(adopted), f"{percent(low)} to {percent(high)} %"])
    return markdown(["kind", "studies", "adopted", "share"], rows)


def abilities(results: Sequence[Result]) -> str:
    """Return scores by the proposer's ability."""
    pairs = {(r["kind"], r["budget"]) for r in results if r["ability"] != 1}
    at = [r for r in results if (r["kind"], r["budget"]) in pairs]
    levels = sorted({r["ability"] for r in at})
    rows = []
    for kind, budget in sorted(pairs):
        for name in sorted({r["optimizer"] for r in at}, key=lambda name: (is_peer(name), name)):
            cells = []
            for level in levels:
                key = (kind, budget, name, level)
                values = [r["accuracy"] for r in at if (r["kind"], r["budget"], r["optimizer"], r["ability"]) == key]
                cells.append(percent(fmean(values)) if values else "–")
            if sum(cell != "–" for cell in cells) > 1:
                rows.append([kind, str(budget), name, *cells])
    return markdown(["kind", "budget", "optimizer", *(f"ability {level:g}" for level in levels)], rows)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and half of its 95 % interval; 0 where there is one value."""
    if len(values) < 2:
        return fmean(values), 0.0
    return fmean(values), float(t.ppf(0.975, len(values) - 1)) * stdev(values) / sqrt(len(values))


def mean_of(results: Iterable[Result], kind: str, key: str) -> float:
    """Return the mean of a field over a kind's results."""
    return fmean(result[key] for result in results if result["kind"] == kind)


def seeds_of(cells: Iterable[Sequence[float]]) -> str:
    """Return how many seeds the cells of a row have."""
    counts = sorted({len(values) for values in cells if values})
    return "–".join(str(count) for count in dict.fromkeys((counts[0], counts[-1])))


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{100 * share:.0f}"
