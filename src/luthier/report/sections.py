"""The sections of the report, each from the view to markup, or None where there is nothing to show yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from luthier.report import tables
from luthier.report.charts import cost_chart, score_chart
from luthier.report.diff import side_by_side
from luthier.report.figures import count, dollars, duration, percent, plural
from luthier.report.html import Child, Markup, el
from luthier.report.model import PromptPair, View
from luthier.report.phases import phase_rows
from luthier.report.spending import Amounts, by_lm, by_role, dollars_for, predictor_lms, prices
from luthier.report.summary import bootstrapped, limits, plan_of
from luthier.study.events import (
    AnywayEvent,
    ArrivalEvent,
    CheckEvent,
    ChoiceEvent,
    InsightEvent,
    LessonsEvent,
    PlanEvent,
    ProposalsEvent,
    SplitEvent,
    TellEvent,
    every,
)


def section(title: str, lead: Child, *body: Child) -> Markup:
    """Return a titled section with one sentence under its title."""
    return el("section", el("h2", title), el("p", lead, class_="lead") if lead else None, body)


def search(view: View) -> Markup | None:
    """Score by trial, with the cost below on the same axis."""
    if not view.marks:
        return None
    fulls = sum(mark.full for mark in view.marks)
    made, drawn = 1 + view.summary.trials, len(view.marks)  # the baseline is the first
    thinned = f"The charts show {count(drawn)} of them, every full one included. " if drawn < made else ""
    lead = (
        f"{plural(made, 'evaluation')}, {fulls} of them on every validation example. {thinned}"
        "Whiskers are one standard error. “Best so far” is drawn towards the mean as far as noise demands, "
        "so it does not mistake luck for skill."
    )
    keys = [
        el("span", el("i", class_="key mini"), "minibatch"),
        el("span", el("i", class_="key full"), "full evaluation"),
        el("span", el("i", class_="key original"), "original"),
        el("span", el("i", class_="key best"), "best so far"),
    ]
    return section(
        "Score by trial",
        lead,
        el("p", keys, class_="legend"),
        score_chart(view.marks, view.summary.baseline),
        el("p", "trial", class_="axis-name"),
        el("h3", f"LM calls, stored answers included: {count(view.marks[-1].calls)}"),
        cost_chart(view.marks, [mark.calls for mark in view.marks], "LM calls"),
        _tokens(view),
    )


def _tokens(view: View) -> list[Child]:
    tokens = [mark.tokens for mark in view.marks]
    if not tokens[-1]:
        return []  # the LM sends no bill
    return [el("h3", f"Tokens, stored answers included: {count(tokens[-1])}"), cost_chart(view.marks, tokens, "tokens")]


def prompts(view: View) -> Markup | None:
    """Original and chosen prompts side by side."""
    if not view.prompts:
        return None
    choice = view.event(ChoiceEvent)
    stopped = choice is None and view.summary.finished
    stays = stopped or any(row.original and row.chosen for row in view.full)
    chosen = choice is not None and not stays
    keep = view.summary.decision in ("keep", "undecided")
    today, these = (
        ("what is deployed today", "the prompts deployed today")
        if _is_deployed(view)
        else ("what you have", "your original prompts")
    )
    lead = (
        f"No prompt can score yet: these are {these}, and they stay."
        if view.summary.decision == "unmeetable"
        else f"There is nothing to win: these are {these}, and they stay."
        if stopped
        else f"No candidate did better on validation examples: these are {these}, and they stay."
        if stays
        else f"The study has not chosen yet: these are {these}."
        if not chosen
        else f"Left {today}, right the best that was found (the recommendation is to keep {today})."
        if keep
        else f"Left {today}, right what is recommended."
    )
    return section(
        "Prompts",
        lead,
        [_pair(pair, chosen=chosen, title="Deployed" if _is_deployed(view) else "Original") for pair in view.prompts],
    )


def _is_deployed(view: View) -> bool:
    """Whether what the study compares with is not what the program's code says."""
    return view.manifest is not None and view.manifest.start.get("deployed") is not None


_KINDS = {"region": "region of a template", "tool": "description of a tool", "demos": "demos in a template"}


def _pair(pair: PromptPair, *, chosen: bool, title: str) -> Markup:
    before, after = side_by_side(pair.before, pair.after)
    same = pair.before == pair.after
    left = el(
        "div",
        el("h4", title),
        el("pre", before or el("span", "(empty)", class_="soft")),
        tables.demos(pair.demos_before, label=title),
    )
    head: Child = ["Chosen", el("span", " instruction unchanged", class_="soft") if same else None]
    right = el(
        "div",
        el("h4", head),
        el("pre", after or el("span", "(empty)", class_="soft")),
        tables.demos(pair.demos_after, label="Chosen"),
    )
    kind = el("span", f" {_KINDS[pair.kind]}", class_="soft") if pair.kind in _KINDS else None
    return el(
        "article", el("h3", el("code", pair.predictor), kind), el("div", left, right if chosen else None, class_="pair")
    )


def examples(view: View) -> Markup | None:
    """Examples fixed and broken."""
    verdict = view.summary.verdict
    if verdict is None or not verdict.n:
        return None
    fixed, broken, n = verdict.fixed, verdict.broken, verdict.n
    lead = (
        f"Of {plural(n, 'held-out example')}, {count(len(fixed))} scored higher with the chosen prompts, "
        f"{count(len(broken))} lower, {count(n - len(fixed) - len(broken))} the same. Rows are counted from 1."
    )
    split = view.event(SplitEvent)
    numbers = {} if split is None else split.numbers
    return section(
        "Examples fixed and broken",
        lead,
        el("h3", el("i", class_="key fixed"), f"Fixed: {len(fixed)}"),
        tables.ids(fixed, numbers),
        el("h3", el("i", class_="key broken"), f"Broken: {len(broken)}"),
        tables.ids(broken, numbers),
    )


def effects(view: View) -> Markup | None:
    """What each predictor's change brings."""
    if not view.effects:
        return None
    insight = view.event(InsightEvent)
    held_out = insight is not None and insight.on == "test"
    where = "held-out examples" if held_out else "the validation examples that it was chosen by, luck included"
    lead = "Each predictor of the chosen candidate was put back to its original, alone; bars show what that loses on"
    return section("What each change brings", f"{lead} {where}.", tables.effects(view.effects))


def variables(view: View) -> Markup | None:
    """How much each variable of the search mattered."""
    if not view.variables:
        return None
    clear = [row.name for row in view.variables if row.p <= tables.CLEAR]
    basis = (
        f"What clearly did: {', '.join(clear)}." if clear else "None stands out from chance: the trials were too few."
    )
    lead = (
        "Each variable's share of what candidates differed by, with a 90 % interval; "
        f"“by chance” is how often shuffled scores let it seem to matter as much. {basis}"
    )
    return section("What mattered", lead, tables.variables(view.variables))


def candidates(view: View) -> Markup | None:
    """Candidates that were scored in full, and every instruction they chose from."""
    if not view.full:
        return None
    lead = (
        "Scored on every validation example. These scores are optimistic for the winner; "
        "the verdict above, from held-out examples, is not."
    )
    choice = view.event(ChoiceEvent)
    if choice is not None and choice.leaked_cells:
        lead += (
            f" Demos come from the same examples, as the paper has it: {plural(choice.leaked_cells, 'score')} of "
            f"{count(sum(row.n for row in view.full))} are of an example that stands among the candidate's own demos."
        )
    return section("Candidates", lead, tables.full_rows(view.full))


def instructions(view: View) -> Markup | None:
    """What was proposed, and every proposal that was rejected, with its text and the reason."""
    proposed = every(view.events, ProposalsEvent)
    made: list[ProposalsEvent | ArrivalEvent] = [*proposed, *every(view.events, ArrivalEvent)]
    listed = [
        el(
            "details",
            el("summary", el("code", name), f": {plural(len(levels), 'instruction')}"),
            el("ol", [el("li", level.instruction) for level in levels.values()], class_="texts", start=0),
        )
        for name, levels in view.levels.items()
        if name.endswith(".instruction")
    ]
    if not listed and not made:
        return None
    rejected = Counter[str]()
    for event in made:
        rejected.update(event.rejected or {})
    reasons = [(reason, count(n)) for reason, n in sorted(rejected.items(), key=lambda item: -int(item[1]))]
    refused = int(sum(int(n) for n in rejected.values()))
    lead = f"{plural(refused, 'proposal')} rejected and asked for again." if refused else "No proposal was rejected."
    quoting = sum(bool(one.get("quotes")) for event in proposed for own in event.predictors.values() for one in own)
    if quoting:
        lead += f" {plural(quoting, 'proposal')} {'quote' if quoting > 1 else 'quotes'} a training example."
    rejections = [one for event in made for one in event.rejections or ()]
    return section(
        "Proposed instructions",
        lead,
        tables.table(("reason", "rejected"), reasons, numbers=1) if reasons else None,
        listed,
        _rejected(rejections) if rejections else None,
    )


def lessons(view: View) -> Markup | None:
    """The rules that were learned from failures, and what replays showed of each."""
    made = [one for event in every(view.events, LessonsEvent) for one in event.lessons]
    if not made:
        return None
    number = {verdict: sum(one["verdict"] == verdict for one in made) for verdict in ("held", "open", "dropped")}
    lead = (
        f"Rules that the proposer stated after reading failures on training examples: {number['held']} held, "
        f"{number['open']} stayed open, {number['dropped']} were dropped. Each was tried alone: “fixed” are failed "
        "examples that came out right with this rule added, “broken” right ones that did not any more; “chance” is the "
        "probability that it brings more than asking again."
    )
    order = {"held": 0, "open": 1, "dropped": 2}
    rows = [
        (
            one["predictor"],
            one["rule"],
            one["verdict"] + (f": {one['why']}" if one["why"] else ""),
            f"{len(one['fixed'])} of {one['tried']}",
            count(len(one["broken"])),
            "–" if one["chance"] is None else percent(one["chance"], 0),
        )
        for one in sorted(made, key=lambda one: (one["predictor"], order.get(one["verdict"], 3)))
    ]
    return section(
        "Lessons", lead, tables.table(("predictor", "rule", "outcome", "fixed", "broken", "chance"), rows, numbers=3)
    )


def _rejected(rejections: Sequence[Mapping[str, Any]]) -> Markup:
    items = [
        el("li", el("code", one["predictor"]), f", {one['reason']}: ", one["text"] or "(nothing)") for one in rejections
    ]
    return el("details", el("summary", plural(len(items), "rejected proposal")), el("ol", items, class_="texts"))


def worth(view: View) -> Markup | None:
    """What the baseline says of what there is to win."""
    event = view.event(CheckEvent)
    if event is None:
        return None
    readable = ", ".join(f"{name} {percent(share)}" for name, share in event.unparseable.items())
    chance, detectable, noise = event.chance, event.smallest_detectable, event.noise
    rows: list[tuple[str, Child]] = [
        (
            "original, validation",
            f"{percent(event.mean)} ({percent(event.low)} to {percent(event.high)})",
        ),
        ("smallest detectable gain", percent(detectable, 0) if detectable is not None else "–"),
        ("chance that flawless prompts would be adopted", percent(chance, 0) if chance is not None else "–"),
        ("runs nobody could read, by predictor", readable or "none"),
        ("scores that change when asked again", percent(noise["flips"]) if noise else "not measured (luthier check)"),
    ]
    gone_on = " The study was told to go on all the same." if view.event(AnywayEvent) is not None else ""
    return section("Is it worth it?", f"{event.sentence}{gone_on}", tables.facts(rows))


def bootstrap(view: View) -> Markup | None:
    """Where demos came from."""
    event = bootstrapped(view.events)
    if event is None:
        return None
    lead = "Runs of the teacher on training examples; those that passed the metric became demos."
    body = tables.passes(event.passes, event.attempts) if event.passes else None
    return section("Demos collected", lead, body)


def outcomes(view: View) -> Markup | None:
    """How rollouts ended."""
    if not view.outcomes:
        return None
    lead = "Unparseable answers and program errors score 0 and are counted apart; an outage is never a score."
    remarks = [el("p", f"{remark}.", class_="note") for remark in view.remarks]
    return section("How runs ended", lead, tables.outcomes(view.outcomes), remarks)


def costs(view: View) -> Markup | None:
    """Plan against actual, and usage by role."""
    rows = phase_rows(view.events)
    plan = plan_of(view.events)
    if plan is None and not rows:
        return None
    body = []
    for row in rows:
        planned, actual = row.planned or {}, row.actual
        body.append(
            (
                row.name,
                _of(_asked(actual.rollouts) if actual else "–", _known(planned, "rollouts")),
                _of(_asked(actual.amounts.calls) if actual else "–", _known(planned, "calls")),
                _of(_asked(actual.amounts.tokens) if actual else "–", _known(planned, "tokens")),
                _of(duration(actual.seconds) if actual else "–", duration(planned.get("seconds"))),
            )
        )
    table = tables.table(("phase", "program runs", "LM calls", "tokens", "time"), body, numbers=4)
    notes = [el("li", note) for note in (() if plan is None else plan.notes)]
    if plan is not None and (unit := plan.paper_unit):
        runs = sum(len(event.outcomes) for event in every(view.events, TellEvent))
        notes.append(
            el(
                "li",
                f"The search took {plural(runs, 'program run')}, as much as {runs / unit['examples']:.1f} full "
                f"evaluations on {unit['examples']} examples: the paper's unit, which counts no other phase.",
            )
        )
    lead = (
        "What happened, with the plan below each number. "
        "Answers found in the store are counted by phase, but were not paid again."
    )
    return section(
        "Cost",
        lead,
        table,
        el("ul", notes, class_="notes") if notes else None,
        el("h3", "By role"),
        _roles(view),
        _lms(view),
    )


def _roles(view: View) -> Markup:
    lms = view.manifest.lms if view.manifest else {}
    asked = by_role(view.events)
    rows: list[list[Child]] = []
    for role in dict.fromkeys([*lms, *asked, *view.paid]):
        lm = lms.get(role) or {}
        # Without the store only journaled bills are known, and a role may have none.
        bill = view.paid.get(role, Amounts()) if view.paid else asked.get(role)
        name = el("code", lm["name"]) if lm.get("name") else "–"
        numbers = ["–", "–", "–"]
        if bill is not None:
            numbers = [count(bill.calls), count(bill.tokens), dollars(dollars_for(bill, lm.get("price")))]
        rows.append([role, name, *numbers])
    return tables.table(("role", "LM", "calls charged", "tokens charged", "price"), rows, numbers=3)


def _lms(view: View) -> list[Child]:
    """What each LM was charged, where predictors are answered by several."""
    of = predictor_lms(view.events)
    if not of:
        return []
    lms = view.manifest.lms if view.manifest else {}
    named = [*((role, lm) for role, lm in lms.items() if lm), *of.items()]
    bills, known, rows = view.paid_by_lm or by_lm(view.events), prices(view.events), []
    for identity in dict.fromkeys([*known, *bills]):
        bill = bills.get(identity, Amounts())
        does = ", ".join(name for name, lm in named if lm.get("identity") == identity)
        usd = dollars(dollars_for(bill, known.get(identity)))
        rows.append((el("code", identity), does or "–", count(bill.calls), count(bill.tokens), usd))
    head = ("LM", "runs, answers", "calls charged", "tokens charged", "price")
    return [el("h3", "By LM"), tables.table(head, rows, numbers=3)]


def settings(view: View) -> Markup | None:
    """Everything the study was started with."""
    manifest = view.manifest
    if manifest is None:
        return None
    optimizer, data = manifest.optimizer, manifest.data
    total = data.get("n", sum(int((data.get(part) or {}).get("n", 0)) for part in ("train", "val", "test")))
    split, plan, budget = view.event(SplitEvent), view.event(PlanEvent), limits(manifest)
    parts = {} if split is None else {"train": split.train, "val": split.val, "test": split.test}
    sizes = ", ".join(f"{count(len(ids))} {part}" for part, ids in parts.items())
    hosts = None if plan is None else list(plan.leaves_machine)
    detectable = None if plan is None else plan.smallest_detectable
    rows: list[tuple[str, Child]] = [
        ("program", el("code", manifest.program)),
        ("optimizer", _mapping(optimizer.get("name", ""), optimizer.get("settings") or {})),
        ("data", f"{plural(int(total), 'example')}: {sizes}" if sizes else plural(int(total), "example")),
        ("inputs, labels", f"{', '.join(data.get('inputs', ()))} → {', '.join(data.get('labels', ()))}"),
        ("budget", _mapping("", budget) if budget else "none"),
        ("sent to", "no other machine" if hosts == [] else ", ".join(hosts) if hosts else "–"),
        ("smallest detectable gain", f"{100 * detectable:.0f} points" if detectable is not None else "–"),
        ("seed, split seed", f"{manifest.seed}, {manifest.split_seed}"),
        ("in flight at most", count(manifest.concurrency)),
        *((f"LM, {role}", el("code", lm.get("identity", ""))) for role, lm in manifest.lms.items() if lm),
        *((f"LM, predictor {name}", el("code", lm.get("identity", ""))) for name, lm in manifest.predictor_lms.items()),
        ("versions", _mapping("", manifest.versions)),
        ("code", _mapping("", manifest.code)),
    ]
    return section("Settings", None, tables.facts(rows))


def _mapping(head: str, values: Mapping[str, object]) -> str:
    return ": ".join(text for text in (str(head), _plain(values)) if text)


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            f"{str(name).replace('_', ' ')} {f'({_plain(item)})' if isinstance(item, Mapping) else _plain(item)}"
            for name, item in value.items()
            if item is not None and item != []
        )
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(_plain(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _asked(amount: int) -> str:
    # Steps that journal no bill (bootstrapping, proposing) show in the paid sums below.
    return count(amount) if amount else "–"


def _known(planned: Mapping[str, object], name: str) -> str:
    value = planned.get(name)
    return count(value) if isinstance(value, int | float) else "–"


def _of(actual: str, planned: str) -> Markup:
    return el("span", actual, el("small", f"plan {planned}") if planned != "–" else None, class_="of")
