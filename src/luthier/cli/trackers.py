"""``--track``: where else a study is reported while it runs."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from luthier.errors import ConfigError

Listener = Callable[[Mapping[str, Any]], None]


@contextmanager
def trackers(named: Sequence[str], progress: Listener) -> Iterator[Listener]:
    """Tell ``progress`` and all trackers named of every event inside the block.

    Raises:
        ConfigError: there is no such tracker, or it is not installed.
    """
    with ExitStack() as open_ones:
        listeners = [progress]
        for name in named:
            kind, _, where = name.partition(":")
            if kind == "mlflow":
                # It greets on standard output, where only the result belongs.
                os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
                from luthier.integrations import mlflow

                listeners.append(open_ones.enter_context(mlflow.tracking(where or None)))
            elif kind == "otel":
                from luthier.integrations import otel

                open_ones.enter_context(otel.tracing(endpoint=where))
            else:
                raise ConfigError(f"--track {name}: must be mlflow, mlflow:URI, otel, or otel:ENDPOINT")

        def tell(event: Mapping[str, Any]) -> None:
            for listener in listeners:
                listener(event)

        yield tell
