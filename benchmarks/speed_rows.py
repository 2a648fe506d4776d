"""What ``speed.py`` found, as the rows of the table of measures, with targets; misses are rows like the others."""

from __future__ import annotations

from typing import Any

COMMAND = "make bench PEER_PYTHON=PATH"
_INSTALL_TARGET = 150
"""MB."""


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows."""
    return [*_cpu(found), *_study(found), *_throughput(found), *_limit(found), *_footprint(found)]


_WHY = {
    "raw aiohttp": "one session, JSON out and in: what Python needs for HTTP here",
    "our client": "timeouts, headers, the body of a request and the answer as values; errors told apart",
    "key, joining, retry, limit, bookkeeping": "a hash of the request; a task of its own, which callers share",
    "store": "one look-up, and one commit before the program sees the answer",
    "budget, with attempts on disk": "a reservation, and a second commit before the call is sent (studies; not above)",
    "hand-over to the engine's thread": "two wake-ups across threads, so that no user code shares a loop with sockets",
    "async program and metric": "a rollout's own work, timed alone below, and two threads' turns at the interpreter",
    "threads for a sync program": "beyond the async program: two more wake-ups, a thread that waits",
}


def text_of(found: dict[str, Any]) -> str:
    """Return what remains between the engine and raw aiohttp, as a page."""
    layers = found["layers"]
    lines = [
        "# From raw aiohttp to a whole evaluation",
        "",
        "Client CPU a call on a no-latency server, 64 in flight: each row is what was added to those above it.",
        "",
        "| added | µs a call | for |",
        "|---|---|---|",
        *(f"| {name} | {layers['added'][name]:.0f} | {why} |" for name, why in _WHY.items()),
        "",
        "Single parts, timed alone; they are within the rows above: "
        + ", ".join(f"{name} {spent:.0f} µs" for name, spent in layers["parts"].items())
        + ".",
        "",
        f"An async evaluation took {layers['garbage']['with']:.0f} µs a call with Python's cyclic garbage collector, "
        f"{layers['garbage']['without']:.0f} without: the calls in flight are what it looks through. We leave a user's "
        "collector alone.",
        "",
        f"Raw numbers: [speed.json](speed.json). Repeat: `{COMMAND}`.",
    ]
    return "\n".join(lines) + "\n"


def _cpu(found: dict[str, Any]) -> list[dict[str, Any]]:
    cells = found["latency 0.0 s"]
    peer = cells.get("DSPy Evaluate, 64")
    return [
        _row(
            "CPU per LM call through the whole engine, no-latency server",
            f"lt.evaluate, {kind} program, 64 in flight",
            "at most 1/3 of DSPy's",
            f"{cells[f'luthier, {kind} program, 64']['cpu_ms_per_call']:.2f} ms"
            + _share(cells[f"luthier, {kind} program, 64"], peer, "cpu_ms_per_call", "of DSPy's")
            + _over_a_third(cells[f"luthier, {kind} program, 64"], peer),
            _peers(
                DSPy_Evaluate=_said(peer, "cpu_ms_per_call", "ms"),
                raw_aiohttp=_said(cells["raw aiohttp, 64"], "cpu_ms_per_call", "ms"),
            ),
        )
        for kind in ("sync", "async")
    ]


def _study(found: dict[str, Any]) -> list[dict[str, Any]]:
    cells = found["whole study"]
    mine, mipro, gepa = cells["luthier MIPRO"], cells.get("DSPy MIPROv2"), cells.get("gepa.optimize")
    return [
        _row(
            "CPU per LM call through the whole engine, no-latency server",
            "a whole MIPRO study: CPU per call that reached the server",
            "at most 1/3 of DSPy's",
            f"{mine['cpu_ms_per_call']:.2f} ms"
            + _share(mine, mipro, "cpu_ms_per_call", "of DSPy's")
            + _over_a_third(mine, mipro),
            _peers(
                DSPy_MIPROv2=_said(mipro, "cpu_ms_per_call", "ms"), gepa_optimize=_said(gepa, "cpu_ms_per_call", "ms")
            ),
        ),
        _row(
            "a whole study on a no-latency server",
            "calls sent, calls a second, seconds of wall",
            "",
            _whole(mine),
            _peers(DSPy_MIPROv2=_whole(mipro), gepa_optimize=_whole(gepa)),
        ),
    ]


def _throughput(found: dict[str, Any]) -> list[dict[str, Any]]:
    cells = found["latency 0.2 s"]
    rows = []
    for width in (16, 64, 256):
        peer = cells.get(f"DSPy Evaluate, {width}")
        bound = width / 0.2
        for kind in ("sync", "async"):
            mine = cells[f"luthier, {kind} program, {width}"]
            rows.append(
                _row(
                    "throughput at 16, 64, 256 in flight, 200 ms server",
                    f"calls a second, {kind} program{' in threads' if kind == 'sync' else ''}, {width} in flight "
                    f"(no client can do more than {bound:.0f})",
                    "at least 2 × DSPy; no collapse" if width == 256 else "",
                    f"{mine['calls_per_second']}" + _share(mine, peer, "calls_per_second", "× DSPy's"),
                    _peers(
                        DSPy_Evaluate=_said(peer, "calls_per_second", ""),
                        raw_aiohttp=_said(cells[f"raw aiohttp, {width}"], "calls_per_second", ""),
                    ),
                )
            )
    return rows


def _limit(found: dict[str, Any]) -> list[dict[str, Any]]:
    layers = found["layers"]
    told = "; ".join(f"{name} {spent:.0f}" for name, spent in layers["added"].items())
    garbage = layers["garbage"]["with"] - layers["garbage"]["without"]
    return [
        _row(
            "what remains between us and the limit",
            "CPU microseconds a call that each layer adds, from raw aiohttp upward",
            "",
            f"{told}. The cyclic garbage collector's part of the sum: {garbage:.0f}",
            "",
        )
    ]


def _footprint(found: dict[str, Any]) -> list[dict[str, Any]]:
    imports, installs = found["imports"], found["installs"]
    plain, used = imports["luthier"], imports["luthier, with predictor, LM, bind"]
    names = ("dspy", "gepa")
    rows = [
        _row(
            "modules loaded by import luthier",
            "heavy ones among them; all of them; milliseconds beyond a bare start",
            "no heavy ones",
            f"{_heavy(plain)}; {plain['modules']}; {plain['milliseconds']} ms "
            f"({used['modules']}; {used['milliseconds']} ms with predictor, LM and bind)",
            _peers(
                **{
                    name: f"{_heavy(imports[name])}; {imports[name]['modules']}; {imports[name]['milliseconds']} ms"
                    for name in names
                    if name in imports
                }
            ),
        )
    ]
    if installs:
        rows.append(
            _row(
                "install size",
                "MB of site-packages in a fresh environment, bytecode included (without)",
                f"under {_INSTALL_TARGET}",
                _size(installs["luthier"]) + _missed(installs["luthier"]),
                _peers(**{name: _size(size) for name, size in installs.items() if name != "luthier"}),
            )
        )
    return rows


def _row(line: str, measure: str, target: str, ours: str, peers: str) -> dict[str, Any]:
    return {"line": line, "measure": measure, "target": target, "ours": ours, "peers": peers, "command": COMMAND}


def _share(mine: dict[str, Any], peer: dict[str, Any] | None, name: str, of: str) -> str:
    return "" if peer is None else f" ({mine[name] / peer[name]:.2f} {of})"


def _said(cell: dict[str, Any] | None, name: str, unit: str) -> str:
    return "" if cell is None else f"{cell[name]:.4g} {unit}".strip()


def _whole(cell: dict[str, Any] | None) -> str:
    return (
        ""
        if cell is None
        else f"{cell['calls']} calls, {cell['calls_per_second']} a second, {cell['wall_seconds']:.1f} s"
    )


def _peers(**said: str) -> str:
    return "; ".join(f"{name.replace('_', ' ')}: {text}" for name, text in said.items() if text)


def _heavy(cell: dict[str, Any]) -> str:
    return ", ".join(cell["heavy_modules"]) or "none"


def _size(size: dict[str, Any]) -> str:
    return "could not be installed" if "failed" in size else f"{size['mb']} ({size['mb_without_bytecode']})"


def _over_a_third(mine: dict[str, Any], peer: dict[str, Any] | None) -> str:
    return ": missed" if peer is not None and mine["cpu_ms_per_call"] > peer["cpu_ms_per_call"] / 3 else ""


def _missed(size: dict[str, Any]) -> str:
    return ": missed" if size.get("mb", 0) >= _INSTALL_TARGET else ""
