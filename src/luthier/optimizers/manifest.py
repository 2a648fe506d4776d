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
from luthier.optimizers.optimizer import Optimizer
from luthier.program.program import Program, code_hash
from luthier.program.signature import Signature


def manifest(
    *,
    program: Program,
    metric: Metric,
    split: Split,
    lms: Mapping[str, LM],
    optimizer: Optimizer,
    budget: Budget | None,
    settings: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the manifest event; a study whose manifest differs is another study."""
    return {
        "program": program.name,
        "predictors": [_signature(predictor.signature) for predictor in program.predictors],
        "lms": {role: _lm(lm) for role, lm in lms.items()},
        "optimizer": {"name": optimizer.name, "settings": _settings(optimizer)},
        **settings,
        "budget": None if budget is None else asdict(budget),
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


def _signature(signature: Signature) -> dict[str, Any]:
    return {
        "name": signature.name,
        "instruction": signature.instruction,
        "fingerprint": signature.fingerprint,
        "inputs": [field.name for field in signature.inputs],
        "outputs": [field.name for field in signature.outputs],
        "reasoning": signature.reasoning,
    }


def _lm(lm: LM) -> dict[str, Any]:
    price = None if lm.price is None else asdict(lm.price)
    sampling = {"temperature": lm.temperature, "top_p": lm.top_p, "max_tokens": lm.max_tokens}
    return {"name": lm.name, "identity": lm.identity, "endpoint": lm.endpoint.value, "price": price, **sampling}


def _data(rows: Sequence[Row]) -> dict[str, Any]:
    return {"n": len(rows), "hash": content_hash([[row.id, dict(row.labels)] for row in rows])}


def _settings(optimizer: Optimizer) -> dict[str, Any]:
    """Return a frozen settings object as JSON: tuples as lists, as they come back from disk."""
    return _jsonable(asdict(optimizer))  # type: ignore[call-overload,no-any-return]


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _jsonable(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    return value
