"""What ``scale.py`` found, as rows of the table of measures."""

from __future__ import annotations

from typing import Any

_COMMAND = "python -m benchmarks.scale"


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the scenes that have been run."""
    makers = {
        "long": _long,
        "wide": _wide,
        "interruptions": _interruptions,
        "repeated": _repeated,
        "slow rollouts": _slow,
        "endings": _endings,
    }
    return [row for scene, rows in makers.items() if scene in found for row in rows(found[scene])]


def _row(line: str, measure: str, target: str, ours: str, scene: str) -> dict[str, Any]:
    command = f"{_COMMAND} {repr(scene) if ' ' in scene else scene}"
    return {"line": line, "measure": measure, "target": target, "ours": ours, "peers": "", "command": command}


def _long(found: dict[str, Any]) -> list[dict[str, Any]]:
    line = f"a study of {found['trials']:,} trials and {found['rollouts']:,} rollouts"
    asks, again = found["ask_cpu_seconds"], found["resumed"]
    return [
        _row(line, "peak memory of the process", "< 300 MB", f"{found['peak_memory_mb']:.0f} MB", "long"),
        _row(line, "disk of the study", "< 300 MB", f"{sum(found['disk_mb'].values()):.0f} MB", "long"),
        _row(
            line,
            "CPU of an ask, at trials 100 to 200, and at the end",
            "<= 0.15 s",
            f"{asks['trials 100 to 200']:.3f} s, {asks['the last 100 before closing']:.3f} s",
            "long",
        ),
        _row(
            line,
            "resumed near its end: until the next event; memory",
            "",
            f"{again['seconds_to_the_first_new_event']:.1f} s; {again['peak_memory_mb']:.0f} MB",
            "long",
        ),
        _row(
            line,
            "its report: time, size, points drawn",
            "opens in a browser",
            f"{found['report_seconds']:.1f} s, {found['report_mb']:.1f} MB, {found['report_marks']}",
            "long",
        ),
    ]


def _wide(found: dict[str, Any]) -> list[dict[str, Any]]:
    line = "a program of 12 predictors and 2,000 examples"

    def told(name: str) -> str:
        one = found[name]
        return f"{one['cpu_ms_per_call']:.2f} ms, {one['peak_memory_mb']:.0f} MB"

    return [
        _row(
            line,
            "CPU per LM call, peak memory; beside 500 examples, beside 3 predictors",
            "nothing quadratic",
            "; ".join(told(name) for name in found),
            "wide",
        )
    ]


def _interruptions(found: dict[str, Any]) -> list[dict[str, Any]]:
    line = "Ctrl-C, whatever user code does"
    rows = []
    for where in ("evaluate", "optimize", "command line"):
        ends = {how: one[where] for how, one in found.items()}
        stuck = [how for how, one in ends.items() if one["seconds"] is None]
        took = [one.get("returned_seconds", one["seconds"]) for one in ends.values()]
        good = sum(seconds is not None and seconds <= 2.0 for seconds in took)
        slowest = max(seconds for seconds in took if seconds is not None)
        ours = f"{good} of {len(took)}, the slowest {slowest} s"
        if stuck:
            ours += f"; Python itself then waits for a pool of threads the user made ({', '.join(stuck)})"
        what = "the process has ended" if where == "command line" else "the call has returned"
        rows.append(_row(line, f"until {what}: {where}", "<= 2 s", ours, "interruptions"))
    studies = [one[where] for one in found.values() for where in ("optimize", "command line")]
    good = sum(bool(one.get("journal_is_whole")) and one.get("resumed_code") in (0, 10, 11) for one in studies)
    rows.append(
        _row(
            line,
            "studies with a whole journal that go on to their verdict",
            "all",
            f"{good} of {len(studies)}",
            "interruptions",
        )
    )
    return rows


def _repeated(found: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for name, census in found.items():
        before, after = census["before"], census["after"]
        told = [
            f"{key.replace('_', ' ')} {before[key]} → {after[key]}" for key in ("open_files", "our_threads", "tasks")
        ]
        told.append(f"memory {before['memory_mb']:.0f} → {after['memory_mb']:.0f} MB")
        rows.append(_row("nothing grows without bound", name, "no growth", ", ".join(told), "repeated"))
    return rows


def _slow(found: dict[str, Any]) -> list[dict[str, Any]]:
    measure = f"rollouts of {found['rollout_seconds']:.0f} s where a call may take {found['lm_timeout_seconds']:.0f} s"
    ours = f"{found['scored']} of 16 scored, {found['lm_calls']} calls for {found['lm_calls_needed']}"
    return [_row("a rollout that takes long", measure, "no timeout, no call twice", ours, "slow rollouts")]


def _endings(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        _row(
            "an interpreter that ends with calls in flight; forks",
            name,
            "no hang, no noise",
            f"code {one['code']} after {one['seconds']} s, {'nothing said' if not one['said'] else one['said']}",
            "endings",
        )
        for name, one in found.items()
    ]
