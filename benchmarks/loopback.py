"""An OpenAI-compatible server on loopback in a process of its own: ``loopback.py LATENCY``; prints its base URL.

It plays a model whose skill depends on its instruction: asked whether a number is even, it is right on a share of the
numbers that the instruction's text fixes, so that a search finds something. Asked for anything else it writes an
instruction. The model name "count" is answered with how many calls came before, which is nobody's own count.
"""

from __future__ import annotations

import hashlib
import re
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.lm.server import Body, OpenAIServer

_ASKED = re.compile(r"question (\d+)\s*(?:$|\n\s*Respond with)")


def answer(body: Body) -> str:
    """Answer in the form that whoever asks expects: DSPy's marked fields, or the bare text."""
    messages = [str(message["content"]) for message in body["messages"]]
    asked = _ASKED.search(messages[-1].strip())
    if asked is None:
        said = f"Answer whether the number in the question is even (way {_draw(messages[-1]) % 997})."
        said = f"```\n{said}\n```" if "```" in messages[-1] else said  # as gepa wants it
    else:
        share = 0.5 + 0.4 * (_draw(messages[0]) % 1000) / 1000
        right = _draw(f"{messages[0]}/{asked[1]}") % 1000 < 1000 * share
        said = "yes" if (int(asked[1]) % 2 == 0) == right else "no"
    if "[[ ##" not in messages[-1]:
        return said
    fields = re.findall(r"`\[\[ ## (\w+) ## \]\]`", messages[-1].rpartition("Respond with")[2])
    marked = [f"[[ ## {name} ## ]]\n{said}" for name in fields if name != "completed"]
    return "\n\n".join([*marked, "[[ ## completed ## ]]"])


def _draw(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def main() -> None:
    """Serve until killed."""
    calls = 0

    def handle(body: Body) -> str:
        nonlocal calls
        if body["model"] == "count":
            return str(calls)
        calls += 1
        server.requests.clear()  # which the tests' server keeps; a benchmark has a hundred thousand
        server.headers.clear()
        server.paths.clear()
        return answer(body)

    server = OpenAIServer(handle, latency=float(sys.argv[1]))
    with server:
        print(server.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
