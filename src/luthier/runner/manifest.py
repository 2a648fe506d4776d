"""What a study is a study of: the first event of its journal, and what a resume is held to."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from luthier._version import __version__
from luthier.budget import Budget
from luthier.canonical import content_hash
from luthier.evaluation.data import Row
from luthier.evaluation.metrics import Metric
from luthier.evaluation.splits import Split
from luthier.lm.lm import LM
from luthier.lm.redact import redact
from luthier.program.component import Component
from luthier.program.lms import LMs
from luthier.program.predictor import Predictor
from luthier.program.program import Program, code_hash
from luthier.program.render import RENDERER
from luthier.program.text import Text
from luthier.runner.optimizer import Optimizer

FORMAT = 2
"""Of the manifest; raised when it names more than before."""


def manifest(  # noqa: PLR0913 - one argument for each thing that a study is told apart by
    *,
    program: Program,
    metric: Metric,
    predictor_metrics: Mapping[str, Metric],
    split: Split,
    lms: Mapping[str, LMs],
    optimizer: Optimizer,
    budget: Budget | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest event; a study whose manifest differs is another study.

    So it names all that can change an answer, or a score.
    """
    judge = metric.judge_lm
    return {
        "format": FORMAT,
        "program": program.name,
        "predictors": [_component(component) for component in program.components],
        "lms": {
            **{role: _lm(of.default) for role, of in lms.items()},
            **({} if judge is None else {"judge": _lm(judge)}),
        },
        # Only where there are such, so that manifests from before there were any are still the same.
        **({"predictor_lms": _by_predictor(lms["task"])} if lms["task"].mixed else {}),
        "optimizer": {"name": optimizer.name, "settings": _settings(optimizer)},
        **settings,
        "budget": None if budget is None else asdict(budget),
        **(
            {"predictor_metrics": {name: of.identity for name, of in sorted(predictor_metrics.items())}}
            if predictor_metrics
            else {}
        ),
        "renderer": RENDERER,
        "code": {"program": code_hash(program.function), "metric": metric.identity},
        "data": {
            "train": _data(split.train),
            "val": _data(split.val),
            "test": _data(split.test),
            "inputs": sorted(split.train[0].inputs) if split.train else [],
            "labels": sorted(split.train[0].labels) if split.train else [],
        },
        "versions": {"luthier": __version__, "python": platform.python_version()},
    }


def _component(component: Component) -> dict[str, Any]:
    if isinstance(component, Text):
        return {
            "name": component.name,
            "kind": component.kind.value,
            "instruction": component.text,
            "fingerprint": component.fingerprint,
            # What stands around a text is a part of the program, although no code hash covers it.
            "around": content_hash([component.facts, component.around, component.guard.sentences]),
        }
    assert isinstance(component, Predictor)
    signature, template = component.signature, component.template
    own = {} if template is None else {"kind": component.kind.value, "around": template.identity}
    return {
        **own,
        "name": signature.name,
        "instruction": signature.instruction,
        "fingerprint": signature.fingerprint,
        "inputs": [field.name for field in signature.inputs],
        "outputs": [field.name for field in signature.outputs],
        "reasoning": signature.reasoning,
        # Those of `named` and of constants elsewhere are in no code hash.
        "settings": {name: value for name, value in asdict(component.settings).items() if value not in (None, ())},
    }


def _by_predictor(lms: LMs) -> dict[str, Any]:
    return {name: _lm(lm) for name, lm in sorted(lms.by_name.items())}


def _lm(lm: LM) -> dict[str, Any]:
    price = None if lm.price is None else asdict(lm.price)
    sampling = {"temperature": lm.temperature, "top_p": lm.top_p, "max_tokens": lm.max_tokens}
    given = {} if lm.with_settings(profile=None).profile is lm.profile else {"profile": lm.profile.value}
    return {
        "name": lm.name,
        "identity": lm.identity,
        "endpoint": lm.endpoint.value,
        "price": price,
        **sampling,
        "extra": _without_keys(_jsonable(lm.extra)),
        **given,
    }


def _without_keys(value: Any) -> Any:
    """Return JSON without keys that a user passes among an LM's extra fields."""
    if isinstance(value, dict):
        return {name: _without_keys(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_keys(item) for item in value]
    return redact(value) if isinstance(value, str) else value


def _data(rows: Sequence[Row]) -> dict[str, Any]:
    return {"n": len(rows), "hash": content_hash([[row.id, dict(row.labels)] for row in rows])}


def _settings(optimizer: Optimizer) -> dict[str, Any]:
    """Return a frozen settings object as JSON: tuples as lists, as they come back from disk."""
    settings: dict[str, Any] = _jsonable(asdict(optimizer))  # type: ignore[call-overload]
    # Told only where it is on: studies from before it could be must go on.
    grounding = settings.get("grounding")
    if isinstance(grounding, dict) and not grounding.get("images"):
        grounding.pop("images", None)
    return settings


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value
