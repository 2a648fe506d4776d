"""What trackers are told, and what they say where they are not installed."""

from __future__ import annotations

import json
import sys

import pytest

from luthier.errors import ConfigError
from luthier.integrations import mlflow, otel
from luthier.integrations.logged import last_step, parameters, points, verdict_of
from luthier.study.events import ManifestEvent, event_of, read_all
from tests.report.fixture import journal


def test_without_mlflow_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[mlflow\]'"):
        mlflow.tracking()


def test_without_opentelemetry_one_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigError, match=r"pip install 'luthier\[otel\]'"), otel.tracing():
        raise AssertionError("must not begin")


def test_metrics_are_the_journals_whether_logged_at_once_or_bit_by_bit() -> None:
    events = read_all(journal())
    at_once = points(events, events)
    bit_by_bit = [point for n in range(1, len(events) + 1) for point in points(events[:n], events[n - 1 : n])]
    assert at_once == bit_by_bit
    told = {point.name for point in at_once}
    assert {"trial.score", "trial.score_in_full", "best_so_far", "verdict.difference", "verdict.low"} <= told


def test_a_trials_step_is_its_number_and_the_originals_is_0() -> None:
    events = read_all(journal())
    scores = [point for point in points(events, events) if point.name.startswith("trial.score")]
    assert scores[0].step == 0
    assert len({point.step for point in scores}) == len(scores)
    assert max(point.step for point in scores) == last_step(events)
    assert all(point.milliseconds > 1_500_000_000_000 for point in scores)


def test_parameters_are_flat_short_and_without_keys() -> None:
    optimizer = {"name": "mipro", "settings": {"note": "sk-verysecretkey1234567890", "long": "x" * 9000}}
    manifest = event_of(read_all([{**journal()[0], "optimizer": optimizer}]), ManifestEvent)
    told = parameters(manifest)
    assert "sk-verysecret" not in json.dumps(told)
    assert all(isinstance(value, str) and len(value) <= 500 for value in told.values())
    assert told["optimizer"] == "mipro"


def test_a_study_without_a_verdict_has_none() -> None:
    assert verdict_of(read_all(journal(until="choice"))) == ("", "")
    assert verdict_of(read_all(journal()))[0] == "adopt"
