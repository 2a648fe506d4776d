"""The arguments of a predictor's decorator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from luthier.lm.lm import LM
from luthier.program.offered import Offered
from luthier.program.render import CallSettings
from luthier.program.wording import Wording
from luthier.types import Auto


@dataclass(frozen=True, slots=True)
class Spec:
    """The decorator's arguments."""

    name: str | None
    instruction: str | Auto | None
    reasoning: bool
    output: str | None
    settings: CallSettings
    lm: LM | None = None
    template: Wording | None = None
    tools: tuple[Offered, ...] = ()


def lm_of(lm: LM | str | None) -> LM | None:
    """Return an LM, also where it was given by its name."""
    return LM(lm) if isinstance(lm, str) else lm


def stops_of(stop: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return where an answer ends, also where one text was given."""
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)
