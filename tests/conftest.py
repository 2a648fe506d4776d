"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process remembers its keys for good; a test's "secret" must not be masked in the texts of the next one."""
    monkeypatch.setattr("luthier.lm.redact._known", set())
