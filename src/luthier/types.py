"""Types that every layer speaks."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, TypeAlias

JSON: TypeAlias = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None
"""A value that JSON can hold."""


class Auto(enum.Enum):
    """The type of ``lt.AUTO``."""

    AUTO = "auto"


AUTO: Final = Auto.AUTO
"""Let luthier choose: as ``instruction=``, from the names of the fields; as an LM's setting, by the model's name."""


class Role(enum.StrEnum):
    """On whose behalf an LM is called; budgets and usage are kept by role."""

    TASK = "task"
    TEACHER = "teacher"
    PROPOSER = "proposer"
    JUDGE = "judge"


class Endpoint(enum.StrEnum):
    """Which of a server's endpoints takes a request; it decides the renderer, too."""

    CHAT = "chat"
    COMPLETIONS = "completions"


class Shown:
    """A value that notebooks show as a card."""

    __slots__ = ()

    card: ClassVar[Callable[[Any], object]] = staticmethod(repr)
    """Makes the card. Values know nothing of reports, so the package says it from above (``luthier/__init__.py``)."""

    def _repr_html_(self) -> str:
        return str(Shown.card(self))
