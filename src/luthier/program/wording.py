"""A predictor whose words are not luthier's but a template's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from luthier.lm.request import Message
    from luthier.program.candidate import Demo
    from luthier.program.signature import Signature
    from luthier.program.text import Text


@dataclass(frozen=True, slots=True)
class Shown:
    """Demos, and all that is needed to write them where a template wants them."""

    signature: Signature
    demos: tuple[Demo, ...]
    json_form: bool = False
    """Whether answers are written as JSON objects."""


class Wording(Protocol):
    """The words of a predictor's prompt, all of them."""

    @property
    def takes_demos(self) -> bool:
        """Whether it says where demos go."""
        ...

    @property
    def identity(self) -> str:
        """Identifies what of it is fixed."""
        ...

    @property
    def length(self) -> int:
        """How many characters it has, more or less."""
        ...

    @property
    def luthier_texts(self) -> tuple[Text, ...]:
        """What of it is tuned."""
        ...

    def turns(self, inputs: Mapping[str, Any], shown: Shown | None) -> tuple[Message, ...]:
        """Return the chat form."""
        ...

    def written(self, inputs: Mapping[str, Any], shown: Shown | None) -> str:
        """Return the form of one text."""
        ...
