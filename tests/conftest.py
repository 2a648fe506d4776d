"""What holds for every test."""

from __future__ import annotations

import signal

import pytest
from hypothesis import settings

from tests.lengths import examples

settings.register_profile("luthier", max_examples=examples(100))
settings.load_profile("luthier")
# A shell that starts tests in the background has them, and all their children, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers its keys for good; a test's "secret" must not be masked in the texts of the next one."""
    monkeypatch.setattr("luthier.lm.redact._known", set())
