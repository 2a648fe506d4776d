"""An OpenAI-compatible server that allows N requests a second: ``limited_server.py N LATENCY WINDOW``; prints its URL.

``/counts`` tells when requests were answered and refused since it was asked last, in seconds since the server's start.
"""

from __future__ import annotations

import asyncio
import math
import sys
from pathlib import Path
from typing import Any, cast

from aiohttp import web

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.lm.limited import Allowance, Window
from tests.lm.server import reply


async def main() -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    allowance = Allowance(cast("Window", sys.argv[3]), float(sys.argv[1]))
    latency = float(sys.argv[2])
    times: dict[str, list[float]] = {"answered": [], "refused": []}

    async def answer(request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        now = loop.time() - begun
        wait = allowance.refuses(now)
        if wait is not None:
            times["refused"].append(now)
            hint = {"Retry-After": str(math.ceil(wait))}
            return web.json_response({"error": {"message": "slow down"}}, status=429, headers=hint)
        await asyncio.sleep(latency)
        times["answered"].append(loop.time() - begun)
        marked = "[[ ## answer ## ]]\nyes\n\n[[ ## completed ## ]]"
        return web.json_response(reply(body, marked if "[[ ##" in str(body["messages"]) else "yes"))

    async def counts(request: web.Request) -> web.Response:
        told = {name: list(at) for name, at in times.items()}
        for at in times.values():
            at.clear()
        return web.json_response(told)

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    app.router.add_get("/counts", counts)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}/v1", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
