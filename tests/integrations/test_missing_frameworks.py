"""An adapter without its framework says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

_WITHOUT = """
import sys
for name in {missing}:
    sys.modules[name] = None  # as if it were not there
from luthier.errors import ConfigError
try:
    import luthier.integrations.{adapter}
except ConfigError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("adapter", "missing", "extra"),
    [
        ("dspy", ["dspy"], "dspy"),
        ("langchain", ["langchain_core"], "langgraph"),
        ("pydantic_ai", ["pydantic_ai"], "pydantic-ai"),
    ],
)
def test_an_adapter_without_its_framework_says_what_to_install(adapter: str, missing: list[str], extra: str) -> None:
    code = _WITHOUT.format(adapter=adapter, missing=missing)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "is not installed" in done.stdout
    assert f"pip install 'luthier[{extra}]'" in done.stdout


_OLD_NAMES = """
import warnings
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    from luthier.adapters import otel, recorded
    from luthier.adapters.templates.template import Template
    import luthier.adapters.tools
from luthier import integrations, program
import luthier.integrations.otel, luthier.program.recorded, luthier.program.templates.template, luthier.program.tool
assert otel is luthier.integrations.otel and recorded is luthier.program.recorded
assert Template is luthier.program.templates.template.Template
assert luthier.adapters.tools is luthier.program.tool
print(*(f"{one.category.__name__}: {one.message}" for one in told), sep="\\n")
"""


def test_modules_of_the_old_package_adapters_are_the_new_ones_and_a_warning_says_where_they_are() -> None:
    done = subprocess.run([sys.executable, "-c", _OLD_NAMES], capture_output=True, text=True, check=True)
    told = done.stdout.splitlines()
    assert "DeprecationWarning: luthier.adapters.otel is luthier.integrations.otel now" in told
    assert all(line.startswith("DeprecationWarning: luthier.adapters.") for line in told)
