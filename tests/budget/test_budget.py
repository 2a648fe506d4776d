from __future__ import annotations

import pytest

from luthier.budget import Budget
from luthier.errors import ConfigError


def test_limits_left_out_are_no_limits() -> None:
    assert Budget().limits == {}
    assert Budget(usd=2.0, lm_calls=5000, seconds=9).limits == {"usd": 2.0, "lm_calls": 5000.0}


@pytest.mark.parametrize("limit", [{"usd": 0}, {"usd": -1.0}, {"lm_calls": 0}, {"tokens": -5}, {"seconds": 0}])
def test_a_limit_must_be_above_zero(limit: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="above zero"):
        Budget(**limit)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), True, "2"])
def test_a_limit_must_be_a_finite_number(value: object) -> None:
    with pytest.raises(ConfigError):
        Budget(usd=value)  # type: ignore[arg-type]
