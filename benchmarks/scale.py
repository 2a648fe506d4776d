"""Long and wide: ``python -m benchmarks.scale [SCENE ...]``. Writes ``benchmarks/results/scale.json``.

Each scene runs in a process of its own, whose peak memory is measured. The LM is scripted and answers at once, in
process, so that what is left is luthier's own work. All scenes take about ten minutes on two slow cores.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import luthier as lt  # noqa: E402 - the tests' worlds are found from the repository's root
from benchmarks.scale_misuse import endings, interruptions, repeated, slow_rollouts  # noqa: E402
from benchmarks.scale_rows import rows_of  # noqa: E402
from luthier.canonical import uniform_order  # noqa: E402
from luthier.lm.doubles import ScriptedLM  # noqa: E402
from luthier.lm.request import Completion, Request  # noqa: E402
from luthier.report import write_report  # noqa: E402
from tests.studies import world  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "scale.json"
TRIALS, MINIBATCH = 2000, 50
STAGES = 12
MB = 1 << 20


class Forgetful(ScriptedLM):
    """A scripted LM that keeps no requests: those of a long study would be what fills the memory."""

    async def complete(self, request: Request) -> Completion:
        """Answer as the script says."""
        completion = await super().complete(request)
        self.requests.clear()
        return completion


class Clock:
    """A listener that notes when each event came, and what each ask took."""

    def __init__(self) -> None:
        self.began = self.last = time.perf_counter()
        self.phases: dict[str, float] = {}
        self.asks: list[float] = []
        self._cpu = time.process_time()
        self._before = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Note an event."""
        if event.get("transient"):
            return
        now, cpu, name = time.perf_counter(), time.process_time(), event["event"]
        if name == "ask":
            self.asks.append(cpu - self._cpu)
        phase = "loop" if name in ("ask", "tell", "loop_end") else name
        self.phases[phase] = round(self.phases.get(phase, 0.0) + now - self.last, 2)
        self.last, self._cpu, self._before = now, cpu, name


def long(folder: Path) -> dict[str, Any]:
    """A study of 2,000 trials and 100,000 rollouts: memory, disk, asks, resuming, report."""
    study = folder / "study"
    clock = Clock()
    cpu = time.process_time()
    result = _tune_long(study, clock)
    rollouts = sum(len(event.get("outcomes", ())) for event in result.events if event["event"] in ("tell", "baseline"))
    found: dict[str, Any] = {
        "trials": sum(event["event"] == "tell" for event in result.events),
        "rollouts": rollouts,
        "wall_seconds": round(time.perf_counter() - clock.began, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "phases_seconds": clock.phases,
        "peak_memory_mb": _peak(),
        "disk_mb": {path.name: round(path.stat().st_size / MB, 1) for path in study.iterdir() if path.is_file()},
        "ask_cpu_seconds": {
            "trials 100 to 200": _mean(clock.asks[100:200]),
            "the last 100 before closing": _mean(clock.asks[-110:-10]),
        },
    }
    started = time.perf_counter()
    _tune_long(study, None)
    found["finished_again_seconds"] = round(time.perf_counter() - started, 2)
    started = time.perf_counter()
    page = write_report(study)
    found["report_seconds"] = round(time.perf_counter() - started, 2)
    found["report_mb"] = round(page.stat().st_size / MB, 2)
    found["report_marks"] = page.read_text(encoding="utf-8").count("<circle")
    _cut(study / "journal.jsonl")
    return {**found, "resumed": _fresh("resumed", study)}


def _cut(journal: Path) -> None:
    """Take the last trials back. Not in the process whose memory is measured."""
    lines = journal.read_bytes().split(b"\n")
    told = [number for number, line in enumerate(lines) if b'"event":"tell"' in line]
    journal.write_bytes(b"\n".join([*lines[: told[-6] + 1], b""]))


def resumed(study: Path) -> dict[str, Any]:
    """The study that was cut before its last trials: seconds until the next event, and to the end."""
    started = time.perf_counter()
    first: list[float] = []

    def note(event: Mapping[str, Any]) -> None:
        if not event.get("transient") and not first:
            first.append(time.perf_counter() - started)

    _tune_long(study, note)
    return {
        "seconds_to_the_first_new_event": round(first[0], 2),
        "seconds_to_the_end": round(time.perf_counter() - started, 2),
        "peak_memory_mb": _peak(),
    }


def _tune_long(study: Path, listen: Callable[[Mapping[str, Any]], Any] | None) -> lt.Result[Any]:
    return lt.optimize(
        world.describe,
        world.rows(1000),
        lt.exact_match("answer"),
        lm=lt.LM(Forgetful(world.answer)),
        optimizer=lt.MIPRO(trials=TRIALS, minibatch=MINIBATCH, candidates=12),
        study_dir=study,
        on_event=listen,
        anyway=True,
    )


def wide(folder: Path) -> dict[str, Any]:
    """A program of 12 predictors and 2,000 examples, and for comparison a quarter of both."""
    return {
        "12 predictors, 2,000 examples": _fresh("wide_one", folder / "a", STAGES, 2000),
        "12 predictors, 500 examples": _fresh("wide_one", folder / "b", STAGES, 500),
        "3 predictors, 2,000 examples": _fresh("wide_one", folder / "c", 3, 2000),
    }


def wide_one(folder: Path, stages: int, examples: int) -> dict[str, Any]:
    """Tune a chain of predictors."""
    predictors = [_stage(number) for number in range(stages)]

    def chain(text: str) -> str:
        for predictor in predictors:
            text = predictor(text=text)
        return text

    rows = [{"text": f"example {number} {'of some length ' * 10}", "answer": "right"} for number in range(examples)]
    clock, lm, cpu = Clock(), Forgetful(lambda request: _chain_answer(request, stages)), time.process_time()
    settings = lt.MIPRO(trials=40, minibatch=25, candidates=12)
    result = lt.optimize(
        chain,
        rows,
        lt.exact_match("answer"),
        lm=lt.LM(lm),
        optimizer=settings,
        study_dir=folder,
        on_event=clock,
        anyway=True,
    )
    cpu = time.process_time() - cpu
    return {
        "lm_calls": lm.calls,
        "wall_seconds": round(time.perf_counter() - clock.began, 1),
        "cpu_ms_per_call": round(1000 * cpu / lm.calls, 3),
        "phases_seconds": clock.phases,
        "peak_memory_mb": _peak(),
        "disk_mb": {path.name: round(path.stat().st_size / MB, 2) for path in folder.iterdir() if path.is_file()},
        "largest_events_kb": _largest(result.events),
    }


def _stage(number: int) -> Any:
    def stage(text: str) -> str:
        return lt.predict()

    named = lt.predictor(name=f"stage_{number:02d}", instruction=f"Do step {number} of the work.", stop=[f"#{number}"])
    return named(stage)


def _chain_answer(request: Request, stages: int) -> str:
    text = "\n".join(message.text for message in request.messages)
    stop = re.search(r"#(\d+)", " ".join(request.stop))
    draw = uniform_order("chain", f"{request.messages[-1].text}/{request.sample}")
    if stop is None:
        return f"Do the step with care, in way {uniform_order('proposal', f'{text}/{request.sample}') % 9973}."
    if int(stop[1]) < stages - 1:
        return f"what step {stop[1]} made of it: {draw}"
    return "right" if draw % 3 else "wrong"


def _largest(events: Any) -> dict[str, float]:
    sizes: dict[str, float] = {}
    for event in events:
        sizes[event["event"]] = max(sizes.get(event["event"], 0.0), round(len(json.dumps(event)) / 1024, 1))
    return dict(sorted(sizes.items(), key=lambda item: -item[1])[:6])


SCENES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "long": long,
    "wide": wide,
    "interruptions": interruptions,
    "repeated": repeated,
    "slow rollouts": slow_rollouts,
    "endings": endings,
}
_PARTS: dict[str, Callable[..., dict[str, Any]]] = {"resumed": resumed, "wide_one": wide_one}


def _fresh(scene: str, *arguments: Any) -> dict[str, Any]:
    """Run a scene in a process of its own and return what it found."""
    command = [sys.executable, __file__, "--scene", scene, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _peak() -> float:
    """Return the most memory this process has had, in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would tell the parent's peak where that was higher: it is kept across exec
        line = next(line for line in status.read_text(encoding="ascii").splitlines() if line.startswith("VmHWM"))
        return round(int(line.split()[1]) / 1024, 1)
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def _mean(seconds: list[float]) -> float:
    return round(sum(seconds) / len(seconds), 4)


def main() -> None:
    """Run the scenes named, or all, and write down what they found beside what is there."""
    if sys.argv[1:2] == ["--scene"]:
        scene, where, *numbers = sys.argv[2:]
        print(json.dumps({**SCENES, **_PARTS}[scene](Path(where), *map(int, numbers))))
        return
    found = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    for scene in sys.argv[1:] or SCENES:
        folder = Path(tempfile.mkdtemp())
        try:
            found[scene] = _fresh(scene, folder)
        finally:
            shutil.rmtree(folder)
        found["rows"] = rows_of(found)
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        print(f"{scene}: {json.dumps(found[scene], indent=1)}")


if __name__ == "__main__":
    main()
