"""DSPy programs: any ``dspy.Module``, tuned in the place of ``dspy.MIPROv2``, and a tuned DSPy program back.

``from luthier.integrations.dspy import Luthier``, then ``Luthier(metric=...).compile(student, trainset=...)``.
"""

from luthier.errors import ConfigError

try:
    from luthier.integrations.dspy.client import lm_of
    from luthier.integrations.dspy.compile import Luthier
    from luthier.integrations.dspy.predictors import tuned
except ImportError as error:
    raise ConfigError(f"DSPy 3.4 or later is not installed ({error}): pip install 'luthier[dspy]'") from error

__all__ = ["Luthier", "lm_of", "tuned"]
