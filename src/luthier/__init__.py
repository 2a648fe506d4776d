"""luthier tunes language-model programs: instructions and demonstrations of every stage, jointly.

Names are loaded when first used, so ``import luthier`` is cheap and a deployed program
never loads what only tuning needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from luthier._version import __version__

if TYPE_CHECKING:
    from luthier.adapters.openai import connect
    from luthier.adapters.recorded import recorded
    from luthier.adapters.templates.template import Template
    from luthier.adapters.tools import Tool, tool
    from luthier.budget import Budget
    from luthier.cli.progress import Progress
    from luthier.deploy.forms import export
    from luthier.errors import LuthierError, Unavailable, Unparseable
    from luthier.evaluation.api import aevaluate, evaluate
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
    from luthier.program.predictor import AUTO, Predictor, predict, predictor, prompt
    from luthier.program.signature import Private
    from luthier.program.text import Guard
    from luthier.program.tools import Reply
    from luthier.tuning import Result, aoptimize, optimize
    from luthier.weigh.check import Check, acheck, check
    from luthier.weigh.compare import Comparison, acompare, compare

_HOMES = {
    "luthier.adapters.openai": ("connect",),
    "luthier.adapters.recorded": ("recorded",),
    "luthier.adapters.templates.template": ("Template",),
    "luthier.adapters.tools": ("Tool", "tool"),
    "luthier.budget": ("Budget",),
    "luthier.cli.progress": ("Progress",),
    "luthier.deploy.forms": ("export",),
    "luthier.errors": ("LuthierError", "Unavailable", "Unparseable"),
    "luthier.evaluation.api": ("aevaluate", "evaluate"),
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
    "luthier.program.tools": ("Reply",),
    "luthier.tuning": ("Result", "aoptimize", "optimize"),
    "luthier.weigh.check": ("Check", "acheck", "check"),
    "luthier.weigh.compare": ("Comparison", "acompare", "compare"),
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
