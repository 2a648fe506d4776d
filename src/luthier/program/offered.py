"""Tools as a predictor offers them to its LM, and the answer of a predictor that may call them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from luthier.lm.request import Message, Tool, ToolCall

if TYPE_CHECKING:
    from luthier.program.text import Text


@dataclass(frozen=True, slots=True)
class Reply:
    """What an LM answered, as it is: the type of a predictor whose LM may call tools."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()

    def luthier_json(self) -> Any:
        """Return the text, or the text with the calls where there are any."""
        calls = [[call.name, call.arguments] for call in self.tool_calls]
        return {"text": self.text, "tool_calls": calls} if calls else self.text

    @property
    def message(self) -> Message:
        """The answer as a turn of the chat, for the history of the next call."""
        return Message("assistant", self.text, self.tool_calls)


class Offered(Protocol):
    """A tool that is offered to an LM."""

    @property
    def offer(self) -> Tool:
        """Name, description, and schema, with the current candidate's descriptions."""
        ...

    @property
    def luthier_texts(self) -> tuple[Text, ...]:
        """Its descriptions."""
        ...


def offers(tools: Iterable[Offered]) -> tuple[Tool, ...]:
    """Return tools as a request has them."""
    return tuple(tool.offer for tool in tools)
