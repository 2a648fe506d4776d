"""What several tests of evaluation share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.evaluation.world import aprogram, program


@pytest.fixture(params=[program, aprogram], ids=["sync", "async"])
def both(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    yield request.param
