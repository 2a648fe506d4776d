"""DSPy programs: any ``dspy.Module``, tuned in the place of ``dspy.MIPROv2``, and a tuned DSPy program back.

``from luthier.adapters.dspy import Luthier`` and ``Luthier(metric=...).compile(student, trainset=..., valset=...)``.
"""

from luthier.errors import ConfigError

try:
    from luthier.adapters.dspy.client import lm_of
    from luthier.adapters.dspy.compile import Luthier
    from luthier.adapters.dspy.predictors import tuned
except ImportError as error:
    raise ConfigError(f"DSPy 3.4 or later is not installed ({error}): pip install 'luthier[dspy]'") from error

__all__ = ["Luthier", "lm_of", "tuned"]
