"""Templates, tools, recorded functions, and images on a Ray cluster: the journal is the local one's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import luthier as lt
from luthier.study.journal import read_journal, without_times
from tests.integrations import ray_components
from tests.lm.server import OpenAIServer

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(400)]
SETTINGS = lt.MIPRO(candidates=3, demo_sizes=(0, 3), instructions=2, trials=4, minibatch=9, closing=1)


def tuned(server: OpenAIServer, folder: Path, **more: Any) -> lt.Result[Any]:
    lm = lt.LM("openai/world", base_url=server.url, api_key="none")
    return lt.optimize(
        ray_components.look,
        ray_components.photos(folder.parent),
        lt.exact_match("shade"),
        lm=lm,
        optimizer=SETTINGS,
        study_dir=folder,
        concurrency=8,
        **more,
    )


def test_components_of_every_kind_and_images_in_demos_are_tuned_as_locally(ray_cluster: Any, tmp_path: Path) -> None:
    with OpenAIServer(ray_components.answer) as server:
        local = tuned(server, tmp_path / "local")
        remote = tuned(server, tmp_path / "remote", executor="ray")
    assert local.best == remote.best
    here, there = (list(without_times(read_journal(tmp_path / name / "journal.jsonl"))) for name in ("local", "remote"))
    assert here == there
    variables = {v["name"] for event in here if event["event"] == "space" for v in event["variables"]}
    assert variables == {"look.manner.instruction", "shade.demos", "shade.instruction"}
