"""The server process: ``python -m luthier.lm.local.child``, run by ``LocalServer`` and by nobody else.

The first line of standard input holds the settings as JSON (the API key among them, so that it shows in no process
list). The only line on standard output holds the address. When standard input ends, the parent is gone or has asked
for the end, and so this process goes.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping
from typing import Any

PARENT_POLL_SECONDS = 1.0


def main() -> None:
    """Serve until standard input ends or the parent is gone."""
    parent = os.getppid()
    settings = json.loads(sys.stdin.buffer.readline())
    reply = os.dup(1)
    # llama.cpp logs to both streams; only the address may be on the pipe the parent reads.
    os.dup2(2, 1)

    import xllamacpp

    server = xllamacpp.Server(common_params(xllamacpp, settings))
    os.write(reply, json.dumps({"address": server.listening_address}).encode() + b"\n")
    os.close(reply)
    _wait_for_the_end(parent)
    # The native destructor can wait for requests in flight; nothing here needs an orderly end.
    os._exit(0)


def common_params(xllamacpp: Any, settings: Mapping[str, Any]) -> Any:
    """Return xllamacpp's parameters for our settings."""
    params = xllamacpp.CommonParams()
    for name in ("cpuparams", "cpuparams_batch"):
        getattr(params, name).n_threads = settings["threads"]
    params.model.path = settings["model"]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, settings["flash_attention"])
    for name, value in settings["params"].items():
        if not hasattr(params, name):
            raise AttributeError(f"this xllamacpp has no parameter {name!r}; luthier needs xllamacpp >= 2026.10")
        setattr(params, name, value)
    return params


def _wait_for_the_end(parent: int) -> None:
    # The pipe's other end may have been inherited by a fork of the parent, so the parent itself is looked at, too.
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], PARENT_POLL_SECONDS)
        if ready and not os.read(0, 4096):
            return


if __name__ == "__main__":
    main()
