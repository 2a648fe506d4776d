"""The server process, run as a script by ``LocalServer`` and by nobody else; it imports nothing of luthier.

The first line of standard input holds the settings as JSON (the API key among them, so that it shows in no process
list). The only line on standard output holds the address, or what went wrong. When standard input ends, the parent is
gone or has asked for the end, and so this process goes.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

PARENT_POLL_SECONDS = 1.0


def main() -> None:
    """Serve until standard input ends or the parent is gone."""
    # Ctrl-C in a terminal reaches the whole group; the parent decides when calls in flight end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    settings = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    reply = os.dup(1)
    # llama.cpp logs to both streams; only our one line may be on the pipe the parent reads.
    os.dup2(2, 1)
    try:
        server = _serve(settings)
        said = {"address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - the boundary of this process: any failure is told to the parent
        said = {"error": f"{type(error).__name__}: {error}"}
    os.write(reply, json.dumps(said).encode() + b"\n")
    os.close(reply)
    while "address" in said and os.getppid() == parent:
        time.sleep(PARENT_POLL_SECONDS)
    # The native destructor waits for requests in flight; nothing here needs an orderly end.
    os._exit(0 if "address" in said else 1)


def _serve(settings: Mapping[str, Any]) -> Any:
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, settings["flash_attention"])
    for name, value in settings["params"].items():
        if not hasattr(params, name):
            raise AttributeError(f"xllamacpp has no parameter {name!r}; another version is needed: >= 2026.10")
        setattr(params, name, value)
    return xllamacpp.Server(params)


def _end_with_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
