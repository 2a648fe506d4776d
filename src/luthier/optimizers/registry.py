"""Optimizers by name."""

from __future__ import annotations

from collections.abc import Callable

from luthier.errors import ConfigError
from luthier.optimizers.bayesian_bootstrap import BayesianBootstrap
from luthier.optimizers.bootstrap_random_search import BootstrapRandomSearch
from luthier.optimizers.coordinate_ascent_opro import CoordinateAscentOPRO
from luthier.optimizers.joint_random_search import JointRandomSearch
from luthier.optimizers.labeled_few_shot import LabeledFewShot
from luthier.optimizers.mipro import MIPRO
from luthier.optimizers.mipro_plus import MIPROPlus
from luthier.optimizers.module_level_opro import ModuleLevelOPRO, UngroundedOPRO
from luthier.optimizers.program_level_opro import ProgramLevelOPRO
from luthier.optimizers.random_search_then_opro import RandomSearchThenOPRO
from luthier.optimizers.reflect import Reflect
from luthier.optimizers.zero_shot_mipro import ZeroShotMIPRO
from luthier.optimizers.zero_shot_mipro_plus import ZeroShotMIPROPlus
from luthier.runner.optimizer import Optimizer

OPTIMIZERS: dict[str, Callable[[], Optimizer]] = {
    "reflect": Reflect,
    "mipro": MIPRO,
    "mipro/paper": MIPRO.paper,
    "mipro0": ZeroShotMIPRO,
    "mipro0/paper": ZeroShotMIPRO.paper,
    "bootstrap-random-search": BootstrapRandomSearch,
    "bootstrap-random-search/paper": BootstrapRandomSearch.paper,
    "bayesian-bootstrap": BayesianBootstrap,
    "bayesian-bootstrap/paper": BayesianBootstrap.paper,
    "mipro0++": ZeroShotMIPROPlus,
    "mipro0++/paper": ZeroShotMIPROPlus.paper,
    "mipro++": MIPROPlus,
    "mipro++/paper": MIPROPlus.paper,
    "opro": ModuleLevelOPRO,
    "opro/paper": ModuleLevelOPRO.paper,
    "opro-g": UngroundedOPRO,
    "opro-g/paper": UngroundedOPRO.paper,
    "program-opro": ProgramLevelOPRO,
    "program-opro/paper": ProgramLevelOPRO.paper,
    "ca-opro": CoordinateAscentOPRO,
    "ca-opro/paper": CoordinateAscentOPRO.paper,
    "random-search-opro": RandomSearchThenOPRO,
    "random-search-opro/paper": RandomSearchThenOPRO.paper,
    "joint-random-search": JointRandomSearch,
    "labeled-few-shot": LabeledFewShot,
}
"""How to make each optimizer with its default settings."""


def optimizer_named(optimizer: str | Optimizer) -> Optimizer:
    """Return the optimizer of that name, or the settings object as it is.

    Raises:
        ConfigError: there is no optimizer of that name.
    """
    if not isinstance(optimizer, str):
        return optimizer
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"no optimizer is called {optimizer!r}; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[optimizer]()
