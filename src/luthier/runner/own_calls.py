"""The language models that the user's own clients ask: a study meets them in its baseline, and prices them from then.

Stand-ins for them join the study's LMs, so that plan, reserve, and report tell their bills apart like any others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from luthier.evaluation.rollout import Rollout
from luthier.lm.lm import LM, Price
from luthier.lm.openai.sdk import Place
from luthier.program.lms import LMs
from luthier.program.program import Program
from luthier.program.trace import OUTSIDE


def own_lms(rollouts: Iterable[Rollout], asked: Sequence[LM], known: LMs, program: Program) -> dict[str, Any]:
    """Return the LMs that user code asked in these rollouts by whose call it was, as the journal keeps them."""
    by_identity = {lm.identity: lm for lm in asked}
    ours = {(lm.identity, lm.price) for lm in known.all}
    found: dict[str, LM] = {}
    for rollout in rollouts:
        calls = [(call.predictor, lm) for call in rollout.trace.calls for lm in (*call.by_lm, call.lm)]
        for name, identity in [*calls, *((OUTSIDE, lm) for lm in rollout.trace.outside)]:
            lm = by_identity.get(identity)
            if lm is not None and (lm.identity, lm.price) not in ours:
                found[_name(name, lm, found, program)] = lm
    return {name: _json(lm) for name, lm in sorted(found.items())}


def with_own_lms(lms: LMs, told: Mapping[str, Mapping[str, Any]]) -> LMs:
    """Return the LMs with stand-ins for those that user code asks."""
    stand_ins = {
        name: LM(
            lm["name"],
            client=Place(lm["identity"].rpartition(" at ")[2]),
            price=None if lm["price"] is None else Price(**lm["price"]),
        )
        for name, lm in told.items()
    }
    return replace(lms, by_name={**lms.by_name, **stand_ins}) if stand_ins else lms


def _name(predictor: str, lm: LM, found: Mapping[str, LM], program: Program) -> str:
    # Where luthier may make a call of that name, too, or another LM has it, the stand-in must not take its place.
    free = any(known.name == predictor and known.makes_own_call for known in program.predictors)
    return predictor if free and found.get(predictor, lm) is lm else f"{predictor}, {lm.name}"


def _json(lm: LM) -> dict[str, Any]:
    return {"name": lm.name, "identity": lm.identity, "price": None if lm.price is None else asdict(lm.price)}
