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
    import luthier.adapters.{adapter}
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
