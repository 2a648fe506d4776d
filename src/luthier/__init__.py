"""luthier tunes language-model programs: instructions and demonstrations of every stage, jointly.

Names are loaded when first used, so ``import luthier`` is cheap and a deployed program
never loads what only tuning needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier._version import __version__
from luthier.types import Shown

if TYPE_CHECKING:
    from luthier.api import (
        Result,
        acheck,
        acompare,
        aevaluate,
        aoptimize,
        check,
        compare,
        evaluate,
        optimize,
    )
    from luthier.budget import Budget
    from luthier.cli.progress import Progress
    from luthier.errors import LuthierError, Unavailable, Unparseable
    from luthier.evaluation.metrics import (
        contains,
        exact_match,
        judge,
        normalized_match,
        numeric_match,
        set_match,
        token_f1,
    )
    from luthier.evaluation.rollout import Evaluation, Score
    from luthier.evaluation.splits import Splits
    from luthier.exports.forms import export
    from luthier.lm.images import Image
    from luthier.lm.lm import LM, Price
    from luthier.lm.request import Completion, Message, Request, ToolCall
    from luthier.optimizers.bayesian_bootstrap import BayesianBootstrap
    from luthier.optimizers.bootstrap_random_search import BootstrapRandomSearch
    from luthier.optimizers.mipro import MIPRO
    from luthier.optimizers.reflect import Reflect
    from luthier.optimizers.zero_shot_mipro import ZeroShotMIPRO
    from luthier.program.bind import bind, use
    from luthier.program.candidate import Candidate, Demo, Prompt
    from luthier.program.connect import connect
    from luthier.program.offered import Reply
    from luthier.program.predictor import AUTO, Predictor, predict, predictor, prompt
    from luthier.program.recorded import recorded
    from luthier.program.signature import Private
    from luthier.program.templates.template import Template
    from luthier.program.text import Guard
    from luthier.program.tool import Tool, tool
    from luthier.runner.check.check import Check
    from luthier.runner.compare import Comparison

_HOMES = {
    "luthier.program.connect": ("connect",),
    "luthier.program.recorded": ("recorded",),
    "luthier.program.templates.template": ("Template",),
    "luthier.program.tool": ("Tool", "tool"),
    "luthier.budget": ("Budget",),
    "luthier.cli.progress": ("Progress",),
    "luthier.exports.forms": ("export",),
    "luthier.errors": ("LuthierError", "Unavailable", "Unparseable"),
    "luthier.evaluation.metrics": (
        "contains",
        "exact_match",
        "judge",
        "normalized_match",
        "numeric_match",
        "set_match",
        "token_f1",
    ),
    "luthier.evaluation.rollout": ("Evaluation", "Score"),
    "luthier.evaluation.splits": ("Splits",),
    "luthier.lm.images": ("Image",),
    "luthier.lm.lm": ("LM", "Price"),
    "luthier.lm.request": ("Completion", "Message", "Request", "ToolCall"),
    "luthier.optimizers.bayesian_bootstrap": ("BayesianBootstrap",),
    "luthier.optimizers.bootstrap_random_search": ("BootstrapRandomSearch",),
    "luthier.optimizers.mipro": ("MIPRO",),
    "luthier.optimizers.reflect": ("Reflect",),
    "luthier.optimizers.zero_shot_mipro": ("ZeroShotMIPRO",),
    "luthier.program.bind": ("bind", "use"),
    "luthier.program.candidate": ("Candidate", "Demo", "Prompt"),
    "luthier.program.predictor": ("AUTO", "Predictor", "predict", "predictor", "prompt"),
    "luthier.program.signature": ("Private",),
    "luthier.program.text": ("Guard",),
    "luthier.program.offered": ("Reply",),
    "luthier.api": (
        "Result",
        "acheck",
        "acompare",
        "aevaluate",
        "aoptimize",
        "check",
        "compare",
        "evaluate",
        "optimize",
    ),
    "luthier.runner.check.check": ("Check",),
    "luthier.runner.compare": ("Comparison",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "AUTO",
    "LM",
    "MIPRO",
    "BayesianBootstrap",
    "BootstrapRandomSearch",
    "Budget",
    "Candidate",
    "Check",
    "Comparison",
    "Completion",
    "Demo",
    "Evaluation",
    "Guard",
    "Image",
    "LuthierError",
    "Message",
    "Predictor",
    "Price",
    "Private",
    "Progress",
    "Prompt",
    "Reflect",
    "Reply",
    "Request",
    "Result",
    "Score",
    "Splits",
    "Template",
    "Tool",
    "ToolCall",
    "Unavailable",
    "Unparseable",
    "ZeroShotMIPRO",
    "__version__",
    "acheck",
    "acompare",
    "aevaluate",
    "aoptimize",
    "bind",
    "check",
    "compare",
    "connect",
    "contains",
    "evaluate",
    "exact_match",
    "export",
    "judge",
    "normalized_match",
    "numeric_match",
    "optimize",
    "predict",
    "predictor",
    "prompt",
    "recorded",
    "set_match",
    "token_f1",
    "tool",
    "use",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'luthier' has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


def _card(value: Any) -> object:
    from luthier.report.cards import card

    return card(value)


Shown.card = staticmethod(_card)
