"""One sentence of advice from what a check measured, and nothing that its intervals do not carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from luthier.evaluation.stats import paired
from luthier.runner.check.probes import Gain, Noise
from luthier.runner.verdict import what_can_be_detected

Promising = Literal["demos", "instructions", "cannot tell"]

MUCH_UNREADABLE = 0.2
MUCH_NOISE = 0.2


def more_promising(demos: Mapping[str, float], instructions: Mapping[str, float]) -> Promising | None:
    """Return which of two probes did better on the same examples; None where not both were made."""
    if not demos or not instructions:
        return None
    found = paired(instructions, demos)
    if found.low > 0:
        return "demos"
    return "instructions" if found.high < 0 else "cannot tell"


def advice(
    checked: Mapping[str, Any],
    *,
    noise: Noise | None,
    strong: Gain | None,
    demos: Gain | None,
    instructions: Gain | None,
    promising: Promising | None,
) -> str:
    """Return the sentence."""
    if checked["stop"]:
        return str(checked["sentence"])
    if checked["mean"] == 0 and (warnings := checked.get("warnings")):
        return f"Look at the examples first: {warnings[-1]}"
    unreadable = checked["unparseable"]
    if sum(unreadable.values()) >= MUCH_UNREADABLE:
        worst = max(unreadable, key=lambda name: unreadable[name])
        return (
            f"Mend the form first: {_percent(sum(unreadable.values()))} of runs could not be read, "
            f"{_percent(unreadable[worst])} because of {worst!r}; demonstrations often help, and a larger max_tokens."
        )
    room, detectable = 1 - checked["mean"], checked["smallest_detectable"]
    if unmet := checked.get("unmet"):
        return (
            f"Fix the labels first: {_percent(unmet)} of them cannot match any answer, so of {_points(room)} only "
            f"{_points(max(0.0, room - unmet))} can be won; the warnings say which labels, and what helps."
        )
    if noise is not None and noise.low >= MUCH_NOISE:
        return (
            "Reduce the noise first: the same prompts asked twice score differently on "
            f"{_percent(noise.flips)} of examples, and gains hide behind that; lower the temperature, or give more "
            "examples."
        )
    if detectable is None:
        n, level = checked["held_out"], checked["level"]
        why = what_can_be_detected(n, level) if n else "no examples are held out, so no gain can be shown"
        said = f"There is room for {_points(room)}, but {why}"
    elif room < detectable:
        said = (
            f"Up to {_points(room)} are possible, but only gains of about {_points(detectable)} or more can be "
            "detected; more examples would help"
        )
    else:
        said = (
            f"Worth trying: up to {_points(room)} are possible; gains of about {_points(detectable)} or more can be "
            "detected"
        )
    return f"{said}; {_where(demos, instructions, promising)}{_ceiling(strong)}."


def _where(demos: Gain | None, instructions: Gain | None, promising: Promising | None) -> str:
    probed = [
        f"{name} {_interval(gain)}"
        for name, gain in (("a few demonstrations", demos), ("one new instruction", instructions))
        if gain is not None
    ]
    if promising is None:
        return f"tried were {' and '.join(probed)}" if probed else "neither demonstrations nor instructions were tried"
    told = {
        "demos": "demonstrations look more promising than instructions",
        "instructions": "instructions look more promising than demonstrations",
        "cannot tell": "whether demonstrations or instructions promise more, so few examples cannot tell",
    }[promising]
    return f"{told} ({', '.join(probed)})"


def _ceiling(strong: Gain | None) -> str:
    if strong is None:
        return ""
    if strong.low > 0:
        return f"; a stronger LM brings {_interval(strong)} with the same prompts, so these examples can be done better"
    return f"; a stronger LM brings {_interval(strong)} with the same prompts, no gain that can be told from none"


def _interval(gain: Gain) -> str:
    return f"{100 * gain.difference:+.0f} points ({100 * gain.low:+.0f} to {100 * gain.high:+.0f})"


def _points(share: float) -> str:
    return f"{100 * share:.0f} points"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
