"""An OpenAI-compatible server on loopback in a process of its own: ``loopback.py LATENCY``; prints its base URL."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.lm.server import Body, OpenAIServer


def answer(body: Body) -> str:
    """Answer in the form that whoever asks expects: DSPy's marked fields, or the bare text."""
    if "[[ ##" in str(body["messages"]):
        return "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
    return "yes"


if __name__ == "__main__":
    with OpenAIServer(answer, latency=float(sys.argv[1])) as server:
        print(server.url, flush=True)
        threading.Event().wait()
